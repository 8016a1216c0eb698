"""A conversation with a model, over OpenAI's `/v1/chat/completions`."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from chorus_client.cli.failure import Failure
from chorus_client.errors import UnexpectedAnswer, Unreachable
from chorus_client.transport import Transport, why

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
END = "[DONE]"


@dataclass(slots=True)
class Answer:
    """Filled as it comes."""

    text: str = ""
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)


class Conversation:
    """Keeps what was said. `options` go into every request's body."""

    def __init__(self, transport: Transport, model: str, *, system: str = "", options: Mapping[str, Any]) -> None:
        self.model = model
        self._transport = transport
        self._options = options
        self._opening = [{"role": "system", "content": system}] if system else []
        self._said: list[dict[str, str]] = []

    def reset(self) -> None:
        self._said.clear()

    def models(self) -> tuple[str, ...]:
        """That the key may ask."""
        with understood():
            return tuple(str(model["id"]) for model in self._transport.json("GET", MODELS)["data"])

    def ask(self, prompt: str, answer: Answer) -> Generator[str]:
        """The answer's text in pieces, all of which `answer` has too. One that was cut short stays in the conversation
        as far as it came; one that never began leaves nothing. Raises ChorusError or Failure."""
        messages = [*self._opening, *self._said, {"role": "user", "content": prompt}]
        try:
            for chunk in self._chunks(messages):
                with understood():
                    piece = _take(chunk, answer)
                yield piece
        finally:
            if answer.text:
                self._said = [*messages[len(self._opening) :], {"role": "assistant", "content": answer.text}]

    def _chunks(self, messages: list[dict[str, str]]) -> Iterator[Any]:
        body = {
            **self._options,
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with self._transport.stream("POST", CHAT, json=body) as response:
            try:
                for line in response.iter_lines():
                    data = line.removeprefix("data: ")
                    if data == END:
                        return
                    if line != data:
                        yield _parsed(data)
            except httpx.HTTPError as error:
                raise Unreachable(f"The answer broke off: {why(error)}.") from error
        raise Unreachable("The answer broke off before its end.")


def _parsed(data: str) -> Any:
    with understood():
        return json.loads(data)


@contextmanager
def understood() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnexpectedAnswer("The answer is not of a gateway's kind; is this address a gateway's?") from None


def _take(chunk: Any, answer: Answer) -> str:
    if "error" in chunk:
        raise Failure(str(chunk["error"].get("message", "The answer ended with an error.")))
    answer.usage = chunk.get("usage") or answer.usage
    piece = ""
    for choice in chunk.get("choices", ()):
        piece += choice["delta"].get("content") or ""
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
    answer.text += piece
    return piece
