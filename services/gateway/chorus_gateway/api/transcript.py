"""What a response has so far, and the events that tell of each change."""

import time
from collections.abc import Iterator
from typing import Any

from chorus_gateway.answer import End, Opening, Piece, TokenEntry, TokenView
from chorus_gateway.api.responses_view import response_view, usage_view
from chorus_gateway.api.schemas_responses import ResponseRequest
from chorus_gateway.api.shapes import finite
from chorus_gateway.errors import GatewayError
from chorus_gateway.tools import CallPiece
from chorus_gateway.values import Usage

Event = dict[str, Any]


class Transcript:
    """Items are texts and calls of functions, one open at a time, each with its number in the output."""

    def __init__(self, body: ResponseRequest, opening: Opening) -> None:
        self._view = response_view(body, opening)
        self._name = self._view["id"].removeprefix("resp_")
        self._output: list[dict[str, Any]] = []
        self._open = False  # the last item may still grow
        self._tokens: list[TokenEntry] = []  # whose text is still to come, unless they are a call's
        self._end = End.STOP
        self._status = "in_progress"
        self._error: dict[str, Any] | None = None
        self._usage: dict[str, Any] | None = None
        self._completed_at: int | None = None

    def response(self) -> dict[str, Any]:
        used = {} if self._usage is None else {"usage": self._usage}
        incomplete = {"reason": "max_output_tokens"} if self._status == "incomplete" else None
        return {
            **self._view,
            **used,
            "status": self._status,
            "completed_at": self._completed_at,
            "error": self._error,
            "incomplete_details": incomplete,
            "output": [_shown(item) for item in self._output],
        }

    def begin(self) -> Iterator[Event]:
        yield {"type": "response.created", "response": self.response()}
        yield {"type": "response.in_progress", "response": self.response()}

    def add(self, piece: Piece) -> Iterator[Event]:
        self._tokens += piece.tokens
        told = 0
        for call in piece.calls:
            if call.at > told:
                yield from self._write(piece.text[told : call.at])
                told = call.at
            yield from self._call(call)
        if piece.text[told:]:
            yield from self._write(piece.text[told:])
        if piece.end is not None:
            self._end = piece.end
            if not self._output:
                yield from self._begin_text()
            yield from self._close("incomplete" if piece.end is End.LENGTH else "completed")

    def finish(self, usage: Usage) -> Iterator[Event]:
        self._usage = usage_view(usage)
        self._status = "incomplete" if self._end is End.LENGTH else "completed"
        self._completed_at = int(time.time()) if self._status == "completed" else None
        yield {"type": f"response.{self._status}", "response": self.response()}

    def fail(self, error: GatewayError) -> Iterator[Event]:
        self._status, self._error = "failed", {"code": "server_error", "message": error.message}
        yield {"type": "response.failed", "response": self.response()}
        yield {"type": "error", "code": error.code, "message": error.message, "param": error.param}

    def _write(self, text: str) -> Iterator[Event]:
        if not self._open or self._output[-1]["type"] != "message":
            yield from self._begin_text()
        [part] = self._output[-1]["content"]
        part["text"] += text
        logprobs = [_entry(entry) for entry in self._tokens]
        self._tokens.clear()
        part["logprobs"] += logprobs
        yield self._about_text("response.output_text.delta", delta=text, logprobs=logprobs)

    def _call(self, call: CallPiece) -> Iterator[Event]:
        self._tokens.clear()
        if call.id:
            item = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": ""}
            yield from self._begin("fc", item)
        if call.arguments:
            self._output[-1]["arguments"] += call.arguments
            yield self._about("response.function_call_arguments.delta", delta=call.arguments)

    def _begin_text(self) -> Iterator[Event]:
        yield from self._begin("msg", {"type": "message", "role": "assistant", "content": []})
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._output[-1]["content"].append(part)
        yield self._about_text("response.content_part.added", part=_shown(part))

    def _begin(self, kind: str, item: dict[str, Any]) -> Iterator[Event]:
        yield from self._close("completed")
        self._output.append({"id": f"{kind}_{self._name}{len(self._output):02}", "status": "in_progress", **item})
        self._open = True
        yield {"type": "response.output_item.added", "output_index": self._at, "item": _shown(self._output[-1])}

    def _close(self, status: str) -> Iterator[Event]:
        if not self._open:
            return
        self._open = False
        item = self._output[-1]
        item["status"] = status
        if item["type"] == "message":
            [part] = item["content"]
            yield self._about_text("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
            yield self._about_text("response.content_part.done", part=_shown(part))
        else:
            yield self._about("response.function_call_arguments.done", name=item["name"], arguments=item["arguments"])
        yield {"type": "response.output_item.done", "output_index": self._at, "item": _shown(item)}

    @property
    def _at(self) -> int:
        return len(self._output) - 1

    def _about(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "item_id": self._output[-1]["id"], "output_index": self._at, **fields}

    def _about_text(self, kind: str, **fields: Any) -> Event:
        return self._about(kind, content_index=0, **fields)


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    """As it is at this moment."""
    if "content" not in item:
        return dict(item)
    return {**item, "content": [dict(part) for part in item["content"]]}


def _entry(entry: TokenEntry) -> dict[str, Any]:
    return {**_token(entry.token), "top_logprobs": [_token(view) for view in entry.top]}


def _token(view: TokenView) -> dict[str, Any]:
    return {"token": view.text, "logprob": finite(view.logprob), "bytes": list(view.data)}
