"""The script that every client runs: what is called, with which key, and what must come of it.

Clients read the calls as JSON and print one line a call (`clients/`); `observed.py` makes the same few words of what
they print, whichever client it was, and those are compared with what stands here.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Expectation = dict[str, Any]  # by a word of observed.py: a value, or a function that says whether it is right

BASE = "chorus-demo"
REVERSE = f"{BASE}@reverse"
EXTRACT = f"{BASE}@extract"
GARDEN = "Reverse the word garden."
PURCHASE = "JSON: Brinda bought 12 apples in Velsh."
SCHEMA: Json = {
    "type": "object",
    "properties": {"item": {"type": "string", "maxLength": 12}, "count": {"type": "integer", "maximum": 99}},
    "required": ["item", "count"],
    "additionalProperties": False,
}
STRICT: Json = {"type": "json_schema", "json_schema": {"name": "purchase", "schema": SCHEMA, "strict": True}}
FUNCTION: Json = {"name": "buy", "description": "Buy something.", "parameters": SCHEMA}
TOOL: Json = {"type": "function", "function": FUNCTION}
NAMED: Json = {"type": "function", "function": {"name": "buy"}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "buy", "arguments": '{"item": "a", "count": 1}'}}
WORDS = {"garden": "nedrag", "winter": "retniw"}


def batch_of(words: Iterable[str]) -> str:
    """A file that asks for each word's reverse."""
    lines = [
        {
            "custom_id": word,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": asking(f"Reverse the word {word}."),
        }
        for word in words
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def asking(prompt: str) -> Json:
    return {"model": REVERSE, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}


@dataclass(frozen=True)
class Call:
    """`kind` is what a client calls: `chat`, `completion`, `embedding`, `response`, `models`, `model`, `file`, `batch`.

    `key` names one of the world's keys. `same_as` is an earlier call whose texts these must be.
    """

    name: str
    kind: str
    params: Json = field(default_factory=dict)
    key: str = "good"
    expect: Expectation = field(default_factory=dict)
    same_as: str = ""

    def for_client(self) -> Json:
        # A client that waits until it may ask again is not what is to be seen.
        retries = 0 if self.key == "slow" else 2
        return {"name": self.name, "kind": self.kind, "params": self.params, "key": self.key, "retries": retries}


def chat(name: str, prompt: str = GARDEN, *, key: str = "good", same_as: str = "", **options: Any) -> Call:
    """With the adapter that reverses words, greedily, where `options` say nothing else."""
    expect = options.pop("expect")
    return Call(name, "chat", asking(prompt) | options, key, expect, same_as)


def refused(kind: str, status: int, **also: Any) -> Expectation:
    """`kind` is the error's class, or one above it."""
    return {"error": lambda classes: kind in classes, "status": status, **also}


def is_purchase(texts: list[str]) -> bool:
    found = [json.loads(text) for text in texts]
    return all(set(each) == {"item", "count"} and isinstance(each["count"], int) for each in found)


def are_purchases(calls: list[list[list[str]]]) -> bool:
    """Of each choice at least one call, with arguments that keep to the schema."""
    return all(made and all(name == "buy" and is_purchase([said]) for name, said in made) for made in calls)


def lengths(*sizes: int) -> Callable[[list[list[float]]], bool]:
    """Vectors of this many values, each of length 1; `observed.py` tells both."""

    def right(found: list[list[float]]) -> bool:
        return [size for size, _ in found] == list(sizes) and all(abs(length - 1) < 1e-3 for _, length in found)

    return right


ANSWERED: Expectation = {"texts": ["nedrag"], "ends": ["stop"]}
CALLED: Expectation = {"calls": are_purchases, "ends": ["tool_calls"]}
STRUCTURED: Expectation = {"texts": is_purchase, "ends": ["stop"]}

CALLS = (
    Call("models", "models", expect={"ids": lambda ids: {BASE, REVERSE, EXTRACT} <= set(ids)}),
    Call("model", "model", {"model": REVERSE}, expect={"ids": [REVERSE]}),
    chat("chat", expect={**ANSWERED, "model": REVERSE, "counted": True}),
    chat("chat of the base", "Hello!", model=BASE, expect={"ends": ["stop"], "model": BASE, "counted": True}),
    chat("chat stream", stream=True, stream_options={"include_usage": True}, expect={**ANSWERED, "counted": True}),
    chat(
        "chat of parts",
        messages=[
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": [{"type": "text", "text": GARDEN}]},
        ],
        expect={"ends": ["stop"]},
    ),
    chat("n", n=3, expect={"texts": ["nedrag"] * 3, "ends": ["stop"] * 3}),
    chat("logprobs", logprobs=True, top_logprobs=2, expect={**ANSWERED, "logprobs": lambda found: found[0] > 0}),
    chat("logprobs stream", logprobs=True, top_logprobs=2, stream=True, expect={**ANSWERED, "scored": True}),
    chat("stop", stop=["r"], expect={"texts": ["ned"], "ends": ["stop"]}),
    chat("length", max_completion_tokens=2, expect={"ends": ["length"]}),
    chat("seed", model=BASE, temperature=1.5, seed=7, max_tokens=12, expect={"ends": lambda ends: len(ends) == 1}),
    chat("seed again", model=BASE, temperature=1.5, seed=7, max_tokens=12, same_as="seed", expect={}),
    chat("JSON schema", PURCHASE, model=EXTRACT, response_format=STRICT, expect=STRUCTURED),
    chat("JSON schema stream", PURCHASE, model=EXTRACT, response_format=STRICT, stream=True, expect=STRUCTURED),
    chat(
        "JSON object",
        PURCHASE,
        model=EXTRACT,
        response_format={"type": "json_object"},
        expect={"texts": lambda texts: isinstance(json.loads(texts[0]), dict), "ends": ["stop"]},
    ),
    chat("tool required", PURCHASE, model=EXTRACT, tools=[TOOL], tool_choice="required", expect=CALLED),
    chat("tool stream", PURCHASE, model=EXTRACT, tools=[TOOL], tool_choice="required", stream=True, expect=CALLED),
    chat("tool named", PURCHASE, model=EXTRACT, tools=[TOOL], tool_choice=NAMED, expect={"calls": are_purchases}),
    chat(
        "tool result",
        tools=[TOOL],
        messages=[
            {"role": "user", "content": PURCHASE},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        ],
        max_tokens=8,
        expect={"ends": lambda ends: ends[0] in ("stop", "length", "tool_calls")},
    ),
    Call(
        "completion",
        "completion",
        {"model": BASE, "prompt": "The garden", "max_tokens": 5, "temperature": 0},
        expect={"texts": lambda texts: bool(texts[0]), "counted": True},
    ),
    Call(
        "completion stream",
        "completion",
        {"model": BASE, "prompt": "The garden", "max_tokens": 5, "temperature": 0, "stream": True},
        same_as="completion",
    ),
    Call(
        "echo",
        "completion",
        {"model": BASE, "prompt": "The garden", "max_tokens": 0, "echo": True, "logprobs": 1},
        expect={"texts": ["The garden"], "scored": True},
    ),
    Call(
        "embedding",
        "embedding",
        {"model": f"{BASE}@mood", "input": ["I love this garden.", "The train was late again."]},
        expect={"vectors": lengths(192, 192)},
    ),
    Call(
        "embedding as floats",
        "embedding",
        {"model": BASE, "input": "A garden.", "encoding_format": "float", "dimensions": 16},
        expect={"vectors": lengths(16)},
    ),
    Call(
        "embedding in base64",
        "embedding",
        {"model": BASE, "input": "A garden.", "encoding_format": "base64"},
        expect={"vectors": lengths(192)},
    ),
    Call("response", "response", {"model": REVERSE, "input": GARDEN, "temperature": 0}, expect={"texts": ["nedrag"]}),
    Call(
        "response stream",
        "response",
        {"model": REVERSE, "input": GARDEN, "temperature": 0, "stream": True},
        expect={"texts": ["nedrag"], "said": "nedrag"},
    ),
    Call(
        "response tool",
        "response",
        {"model": EXTRACT, "input": PURCHASE, "tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
        expect={"calls": are_purchases},
    ),
    Call("file", "file", {"content": "{}\n"}, expect={"content": "{}\n", "listed": True, "deleted": True}),
    Call("batch", "batch", {"content": batch_of(WORDS)}, expect={"status": "completed", "answers": WORDS}),
    chat("wrong value", temperature=3, expect=refused("BadRequestError", 400, param="temperature")),
    chat("wrong value in a stream", top_p=2, stream=True, expect=refused("BadRequestError", 400, param="top_p")),
    chat("too long", "word " * 3000, expect=refused("BadRequestError", 400, code="context_length_exceeded")),
    chat("wrong key", key="wrong", expect=refused("AuthenticationError", 401, code="invalid_api_key")),
    chat("wrong scope", key="uploads", expect=refused("PermissionDeniedError", 403, code="permission_denied")),
    chat("unknown model", model=f"{BASE}@nobody", expect=refused("NotFoundError", 404, code="model_not_found")),
    chat("within the rate", "Hello!", model=BASE, key="slow", expect={"ends": ["stop"]}),
    chat("over the rate", model=BASE, key="slow", expect=refused("RateLimitError", 429, code="rate_limit_exceeded")),
    chat("no quota", model=BASE, key="spent", expect=refused("RateLimitError", 429, code="insufficient_quota")),
)
