"""What a client printed of a call, in the few words that `script.py` expects: the same for every client."""

import base64
import json
import math
import struct
from collections import defaultdict
from typing import Any

Json = dict[str, Any]


def observed(kind: str, line: Json) -> Json:
    """Of a line with an `error`, that error; else words that depend on the kind of call."""
    if "error" in line:
        error: Json = line["error"]
        return {"error": error["classes"], **{word: error.get(word) for word in ("status", "param", "code", "said")}}
    answer = line["answer"]
    match kind:
        case "chat" | "completion":
            return _choices(answer if isinstance(answer, dict) else _merged(answer))
        case "embedding":
            return {"vectors": [_measured(item["embedding"]) for item in answer["data"]], "counted": _counted(answer)}
        case "response":
            return _response(answer)
        case "models":
            return {"ids": [model["id"] for model in answer]}
        case "model":
            return {"ids": [answer["id"]]}
        case "batch":
            return _batch(answer)
    return dict(answer)


def _choices(answer: Json) -> Json:
    """Of a whole chat or completion."""
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    messages = [choice.get("message") or {} for choice in choices]
    logprobs = [_scores(choice.get("logprobs") or {}) for choice in choices]
    return {
        "texts": [
            choice.get("text") or message.get("content") or ""
            for choice, message in zip(choices, messages, strict=True)
        ],
        "calls": [[_call(call) for call in message.get("tool_calls") or ()] for message in messages],
        "ends": [choice["finish_reason"] for choice in choices],
        "logprobs": [len(scores) for scores in logprobs],
        "scored": all(scores and all(score is None or score <= 0 for score in scores) for scores in logprobs),
        "model": answer.get("model"),
        "counted": _counted(answer),
    }


def _call(call: Json) -> list[str]:
    return [call["function"]["name"], call["function"]["arguments"]]


def _scores(logprobs: Json) -> list[float | None]:
    if logprobs.get("token_logprobs") is not None:
        return list(logprobs["token_logprobs"])
    return [token["logprob"] for token in logprobs.get("content") or ()]


def _counted(answer: Json) -> bool:
    usage = answer.get("usage") or {}
    made = usage.get("completion_tokens") or 0
    total: int = usage.get("total_tokens", 0)
    return total > 0 and total == usage["prompt_tokens"] + made


def _merged(chunks: list[Json]) -> Json:
    """A stream as the answer that it comes to."""
    choices: dict[int, Json] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"index": piece["index"], "finish_reason": None, "text": ""})
            _extend(choice, piece)
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    return {"choices": list(choices.values()), "model": chunks[0].get("model"), "usage": usages[-1] if usages else None}


def _extend(choice: Json, piece: Json) -> None:
    delta = piece.get("delta") or {}
    choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
    choice["text"] += piece.get("text") or delta.get("content") or ""
    scores = choice.setdefault("logprobs", {"content": []})
    scores["content"] += (piece.get("logprobs") or {}).get("content") or []
    calls = choice.setdefault("message", {"tool_calls": []})["tool_calls"]
    for part in delta.get("tool_calls") or ():
        while len(calls) <= part["index"]:
            calls.append({"function": {"name": "", "arguments": ""}})
        for word in ("name", "arguments"):
            calls[part["index"]]["function"][word] += part["function"].get(word) or ""


def _measured(vector: Any) -> list[float]:
    """How many values, and the length of the vector."""
    if isinstance(vector, str):
        data = base64.b64decode(vector)
        vector = struct.unpack(f"<{len(data) // 4}f", data)
    return [len(vector), math.hypot(*vector)]


def _response(answer: Any) -> Json:
    """A response, or the events of its stream, of which the last one has it whole."""
    events = answer if isinstance(answer, list) else []
    whole = events[-1]["response"] if events else answer
    parts: dict[str, list[Json]] = defaultdict(list)
    for item in whole["output"]:
        parts[item["type"]].append(item)
    return {
        "status": whole["status"],
        "texts": ["".join(part["text"] for item in parts["message"] for part in item["content"])],
        "calls": [[[call["name"], call["arguments"]] for call in parts["function_call"]]],
        "said": "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta"),
    }


def _batch(answer: Json) -> Json:
    lines = [json.loads(line) for line in answer["content"].splitlines()]
    said = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
    return {"status": answer["status"], "answers": said}
