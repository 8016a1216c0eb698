"""Lines of a batch's input: {"custom_id", "method": "POST", "url", "body"}."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from chorus_gateway.batches.values import Problem

MAX_CUSTOM_ID = 512  # characters
LINES_A_TURN = 4096  # until other requests go on


@dataclass(frozen=True, slots=True)
class Line:
    number: int  # from 1, as editors count
    custom_id: str
    body: dict[str, Any]


async def split(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[tuple[int, bytes]]:
    """Numbered lines, empty ones left out. Of one over `limit` bytes come as many, and one more."""
    number, rest = 1, b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else [rest + chunk]
        for line in whole:
            if line.strip():
                yield number, line[: limit + 1]
            number += 1
            if not number % LINES_A_TURN:
                await asyncio.sleep(0)  # a chunk may be half a million empty ones
        rest = rest[: limit + 1]
    if rest.strip():
        yield number, rest


def parse(number: int, text: bytes, endpoint: str, limit: int) -> Line | Problem:
    """What a line asks for, or what is wrong with it."""
    if len(text) > limit:
        return Problem("line_too_long", f"The line may have at most {limit} bytes and has more; shorten it.", number)
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return Problem("invalid_json_line", "The line is not parseable as valid JSON; write one object a line.", number)
    if not isinstance(entry, dict):
        return Problem("invalid_json_line", "The line must be a JSON object.", number)
    return _wrong(number, entry, endpoint) or Line(number, entry["custom_id"], entry["body"])


def _wrong(number: int, entry: dict[str, Any], endpoint: str) -> Problem | None:
    custom_id, url = entry.get("custom_id"), entry.get("url")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
        message = f"custom_id: must be a string of 1 to {MAX_CUSTOM_ID} characters."
        return Problem("invalid_custom_id", message, number, "custom_id")
    if not _encodable(custom_id):
        return Problem("invalid_custom_id", "custom_id: has a lone surrogate, which is no text.", number, "custom_id")
    if entry.get("method") != "POST":
        return Problem("invalid_method", "method: must be 'POST'.", number, "method")
    if url != endpoint:
        message = f"url: is {str(url)[:100]!r}, and the batch's endpoint is '{endpoint}': all lines must have it."
        return Problem("mismatched_endpoint", message, number, "url")
    if not isinstance(entry.get("body"), dict):
        return Problem("invalid_body", "body: must be a JSON object, the request's body.", number, "body")
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
