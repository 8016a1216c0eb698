"""A tenant's client of one gateway, light enough that two cores are left for what is measured.

Streams of /v1/completions over a connection each; of a token's event only its time is kept, and its name where it is
asked for.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

DATA, DONE = b"data: ", b"[DONE]"
MAX_LINE = 1 << 20  # bytes


@dataclass(slots=True)
class Answer:
    """What came of one request."""

    model: str
    prompt: tuple[int, ...]
    asked: float = 0.0  # seconds on the performance counter
    times: list[float] = field(default_factory=list)  # of each event with tokens
    tokens: list[str] = field(default_factory=list)  # their names, with `names`
    fingerprint: str = ""  # of the weights that answered, with `names`
    status: int = 0
    failure: str = ""

    @property
    def first_token(self) -> float:
        """Seconds from asking to the first token."""
        return self.times[0] - self.asked

    def gaps(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Seconds between neighbouring events, of those that came within a span."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if begin <= after <= end]


class Client:
    """`url` is a gateway's."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._key = key

    async def ask(self, model: str, prompt: Sequence[int], tokens: int, *, names: bool = False) -> Answer:
        """Greedy, of exactly so many tokens. Raises nothing: `failure` says why there are not all."""
        answer = Answer(model, tuple(prompt), time.perf_counter())
        body = {
            "model": model, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
            "stream": True, "logprobs": 0 if names else None,
        }  # fmt: skip
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=MAX_LINE)
        except OSError as error:
            answer.failure = str(error)
            return answer
        try:
            writer.write(self._head(json.dumps(body).encode()))
            await self._read(reader, answer, names)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            answer.failure = answer.failure or repr(error)
        finally:
            writer.close()
        return answer

    def _head(self, body: bytes) -> bytes:
        lines = (
            "POST /v1/completions HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            f"Authorization: Bearer {self._key}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def _read(self, reader: asyncio.StreamReader, answer: Answer, names: bool) -> None:
        """Each event is a line of its own, whatever the chunks that it comes in."""
        answer.status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if answer.status != 200:
            answer.failure = (await reader.read()).decode(errors="replace")
            return
        while line := await reader.readline():
            if not line.startswith(DATA):
                continue
            if line.startswith(DONE, len(DATA)):
                return
            self._event(line[len(DATA) :], answer, names)
        answer.failure = answer.failure or "the stream was cut"

    @staticmethod
    def _event(data: bytes, answer: Answer, names: bool) -> None:
        if data.startswith(b'{"error"'):
            answer.failure = data.decode()
            return
        answer.times.append(time.perf_counter())
        if names:
            event: dict[str, Any] = json.loads(data)
            choices = event["choices"]
            answer.fingerprint = event["system_fingerprint"]
            answer.tokens += choices[0]["logprobs"]["tokens"] if choices[0]["logprobs"] else []
