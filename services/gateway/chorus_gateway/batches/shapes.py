"""Answers as the lines of a batch's files."""

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.lines import Line
from chorus_gateway.batches.results import NOTHING, Result
from chorus_gateway.values import Usage

USAGE = b'"usage":'
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
CANCELLED = ("batch_cancelled", "This request was not executed, as the batch was cancelled.")


def answered(line: Line, answer: Answered) -> Result:
    """To the output with a good status, else to the errors, with the error's own body."""
    body = answer.body if b"\n" not in answer.body else json.dumps(json.loads(answer.body)).encode()
    ok = 200 <= answer.status < 300
    response = b'{"status_code":%d,"request_id":%s,"body":%s}' % (
        answer.status,
        json.dumps(answer.request_id).encode(),
        body,
    )
    return Result(line.number, ok, _entry(line, response, b"null"), _usage(_said_of_usage(body)) if ok else NOTHING)


def not_executed(line: Line, code: str, message: str) -> Result:
    error = json.dumps({"code": code, "message": message}).encode()
    return Result(line.number, False, _entry(line, b"null", error))


def refused(error: Mapping[str, Any]) -> Answered:
    """As the gateway's own answer to a line that is not asked at all."""
    return Answered(f"req_{uuid.uuid4().hex}", 400, {}, json.dumps(error).encode())


def _said_of_usage(body: bytes) -> Mapping[str, Any]:
    """Where it is the last that is said, without reading the rest: two thousand vectors would keep other requests
    waiting for seconds."""
    at = body.rfind(USAGE)
    if at >= 0:
        end = body[at + len(USAGE) :].decode()
        with suppress(ValueError):
            usage, length = json.JSONDecoder().raw_decode(end)
            if end[length:] == "}":
                return usage or {}
    return json.loads(body).get("usage") or {}


def _usage(usage: Mapping[str, Any]) -> Usage:
    """As an answer of any endpoint says it: of responses in other words."""
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    return Usage(
        prompt_tokens=usage.get("prompt_tokens", usage.get("input_tokens", 0)),
        completion_tokens=usage.get("completion_tokens", usage.get("output_tokens", 0)),
        cached_tokens=details.get("cached_tokens", 0),
    )


def _entry(line: Line, response: bytes, error: bytes) -> bytes:
    head = json.dumps({"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line.custom_id})[:-1].encode()
    return b'%s, "response": %s, "error": %s}\n' % (head, response, error)
