"""The script through openai-python, of any line that has these calls. One line of JSON a call."""

import json
import sys
import time
from typing import Any

import openai

Json = dict[str, Any]


def answer(client: openai.OpenAI, kind: str, params: Json) -> Any:
    create: Any = {
        "chat": client.chat.completions.create,
        "completion": client.completions.create,
        "embedding": client.embeddings.create,
        "response": client.responses.create,
        "model": lambda model: client.models.retrieve(model),
    }.get(kind)
    if create is not None:
        found = create(**params)
        return [dumped(each) for each in found] if params.get("stream") else dumped(found)
    if kind == "models":
        return [dumped(model) for model in client.models.list()]
    file = client.files.create(file=("requests.jsonl", params["content"].encode()), purpose="batch")
    return kept(client, file.id) if kind == "file" else executed(client, file.id)


def dumped(value: Any) -> Any:
    return value.model_dump(mode="json", warnings=False)


def kept(client: openai.OpenAI, file: str) -> Json:
    """What can be done with a file, ending with its deletion."""
    return {
        "content": client.files.content(file).text,
        "listed": file in [each.id for each in client.files.list()] and client.files.retrieve(file).id == file,
        "deleted": client.files.delete(file).deleted,
    }


def executed(client: openai.OpenAI, file: str) -> Json:
    batch = client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.id in [each.id for each in client.batches.list()]
    return {"status": batch.status, "content": client.files.content(batch.output_file_id or "").text}


def refusal(error: openai.APIStatusError) -> Json:
    told = {"status": error.status_code, "param": error.param, "code": error.code, "said": str(error)}
    return {"classes": [kind.__name__ for kind in type(error).__mro__], **told}


def main() -> None:
    given = json.load(sys.stdin)
    for call in given["calls"]:
        options = {"api_key": given["keys"][call["key"]], "max_retries": call["retries"]}
        with openai.OpenAI(base_url=given["base_url"], timeout=120, **options) as client:
            try:
                line = {"answer": answer(client, call["kind"], call["params"])}
            except openai.APIStatusError as error:
                line = {"error": refusal(error)}
        print(json.dumps({"call": call["name"], **line}), flush=True)


if __name__ == "__main__":
    main()
