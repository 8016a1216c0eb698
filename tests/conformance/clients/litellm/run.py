"""The script through LiteLLM's functions. One line of JSON a call."""

import json
import sys
import time
from typing import Any

import litellm
import openai

Json = dict[str, Any]
PROVIDER = {"custom_llm_provider": "openai"}


def answer(where: Json, kind: str, params: Json) -> Any:
    call: Any = {
        "chat": litellm.completion,
        "completion": litellm.text_completion,
        "embedding": litellm.embedding,
        "response": litellm.responses,
    }.get(kind)
    if kind == "embedding":
        params = {**params, "allowed_openai_params": ["dimensions"]}  # it knows OpenAI's models by name
    if call is not None:
        found = call(**where, **PROVIDER, **params)
        return [dumped(each) for each in found] if params.get("stream") else dumped(found)
    if kind == "models":
        there = {name: where[name] for name in ("api_base", "api_key")}
        names = litellm.get_valid_models(check_provider_endpoint=True, **PROVIDER, **there)
        return [{"id": name.removeprefix("openai/")} for name in names]
    file = litellm.create_file(
        file=("requests.jsonl", params["content"].encode()), purpose="batch", **PROVIDER, **where
    )
    return kept(where, file.id) if kind == "file" else executed(where, file.id)


def dumped(value: Any) -> Any:
    return value.model_dump(mode="json", warnings=False)


def kept(where: Json, file: str) -> Json:
    """What can be done with a file, ending with its deletion."""
    listed = [each.id for each in litellm.file_list(**PROVIDER, **where)]
    return {
        "content": litellm.file_content(file_id=file, **PROVIDER, **where).text,
        "listed": file in listed and litellm.file_retrieve(file_id=file, **PROVIDER, **where).id == file,
        "deleted": litellm.file_delete(file_id=file, **PROVIDER, **where).deleted,
    }


def executed(where: Json, file: str) -> Json:
    asked: Any = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = litellm.create_batch(**asked, **PROVIDER, **where)
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        batch = litellm.retrieve_batch(batch_id=batch.id, **PROVIDER, **where)
    content = litellm.file_content(file_id=batch.output_file_id, **PROVIDER, **where).text
    return {"status": batch.status, "content": content}


def refusal(error: Any) -> Json:
    return {"classes": [kind.__name__ for kind in type(error).__mro__], "status": error.status_code, "said": str(error)}


def main() -> None:
    litellm.suppress_debug_info = True  # which it would print among the lines
    given = json.load(sys.stdin)
    for call in given["calls"]:
        where = {"api_base": given["base_url"], "api_key": given["keys"][call["key"]], "max_retries": call["retries"]}
        try:
            line = {"answer": answer(where, call["kind"], call["params"])}
        except (openai.APIStatusError, litellm.exceptions.APIError) as error:
            line = {"error": refusal(error)}
        print(json.dumps({"call": call["name"], **line}), flush=True)


if __name__ == "__main__":
    main()
