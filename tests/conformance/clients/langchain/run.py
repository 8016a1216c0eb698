"""The script through langchain-openai, as far as it has these calls. One line of JSON a call, in OpenAI's words."""

import json
import sys
from functools import reduce
from operator import add
from typing import Any

import openai
from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

Json = dict[str, Any]
USAGE = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}


def answer(where: Json, kind: str, params: Json) -> Any:
    params = dict(params)
    asked = {**where, "model": params.pop("model")}
    match kind:
        case "chat":
            return chat(asked, params, params.pop("messages"))
        case "response":
            return response(asked, params, params.pop("input"))
        case "completion":
            return completion(asked, params, params.pop("prompt"))
        case "embedding":
            return embedding(asked, params, params.pop("input"))
    raise ValueError(kind)


def chat(asked: Json, params: Json, messages: Any) -> Json:
    tools, choice = params.pop("tools", None), params.pop("tool_choice", None)
    streamed = params.pop("stream", False)
    params.pop("stream_options", None)
    model: Any = ChatOpenAI(**asked, stream_usage=True)
    if streamed or tools:
        model = model if tools is None else model.bind_tools(tools, tool_choice=choice)
        found = reduce(add, model.stream(messages, **params)) if streamed else model.invoke(messages, **params)
        return whole([(found, found.response_metadata)])
    result = model.generate([convert_to_messages(messages)], **params)
    return whole([(each.message, each.generation_info) for each in result.generations[0]])


def whole(found: list[tuple[Any, Json]]) -> Json:
    usage = found[0][0].usage_metadata
    return {
        "model": found[0][0].response_metadata.get("model_name"),
        "choices": [
            {
                "index": index,
                "message": {"content": message.content, "tool_calls": [called(call) for call in message.tool_calls]},
                "logprobs": told.get("logprobs"),
                "finish_reason": told["finish_reason"],
            }
            for index, (message, told) in enumerate(found)
        ],
        "usage": usage and {word: usage[name] for word, name in USAGE.items()},
    }


def called(call: Json) -> Json:
    return {"function": {"name": call["name"], "arguments": json.dumps(call["args"])}}


def response(asked: Json, params: Json, text: str) -> Any:
    tools, choice = params.pop("tools", None), params.pop("tool_choice", None)
    streamed = params.pop("stream", False)
    model: Any = ChatOpenAI(**asked, use_responses_api=True)
    model = model if tools is None else model.bind_tools(tools, tool_choice=choice)
    pieces = list(model.stream(text, **params)) if streamed else [model.invoke(text, **params)]
    message = reduce(add, pieces)
    output = [{"type": "message", "content": [{"text": message.text}]}]
    output += [
        {"type": "function_call", "name": each["name"], "arguments": json.dumps(each["args"])}
        for each in message.tool_calls
    ]
    told = {"status": message.response_metadata.get("status"), "output": output}
    deltas = [{"type": "response.output_text.delta", "delta": piece.text} for piece in pieces]
    return [*deltas, {"type": "response.completed", "response": told}] if streamed else told


def completion(asked: Json, params: Json, prompt: str) -> Json:
    limit = {"max_tokens": params.pop("max_tokens"), "temperature": params.pop("temperature", 1)}
    streamed = params.pop("stream", False)
    model = OpenAI(**asked, **limit, model_kwargs={"echo": True} if params.pop("echo", False) else {}, **params)
    if streamed:
        return {"choices": [{"index": 0, "text": "".join(model.stream(prompt)), "finish_reason": None}]}
    result = model.generate([prompt])
    told = result.generations[0][0].generation_info or {}
    choice = {"index": 0, "text": result.generations[0][0].text, **told}
    return {"choices": [choice], "usage": (result.llm_output or {}).get("token_usage")}


def embedding(asked: Json, params: Json, texts: Any) -> Json:
    model = OpenAIEmbeddings(**asked, check_embedding_ctx_length=False, dimensions=params.pop("dimensions", None))
    vectors = model.embed_documents(texts) if isinstance(texts, list) else [model.embed_query(texts)]
    return {"data": [{"embedding": vector} for vector in vectors]}


def refusal(error: openai.APIStatusError) -> Json:
    classes = [kind.__name__ for kind in type(error).__mro__]  # it has some of its own below openai-python's
    told = {"status": error.status_code, "param": error.param, "code": error.code, "said": str(error)}
    return {"classes": classes, **told}


def main() -> None:
    given = json.load(sys.stdin)
    for call in given["calls"]:
        where = {"base_url": given["base_url"], "api_key": given["keys"][call["key"]], "max_retries": call["retries"]}
        try:
            line = {"answer": answer(where, call["kind"], call["params"])}
        except openai.APIStatusError as error:
            line = {"error": refusal(error)}
        print(json.dumps({"call": call["name"], **line}), flush=True)


if __name__ == "__main__":
    main()
