"""An answer that is sent as it comes: server-sent events, as OpenAI's clients read them."""

import json
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chorus_gateway.answer import Opening, Piece
from chorus_gateway.api.errors import error_body
from chorus_gateway.api.exchange import while_connected
from chorus_gateway.ask import Ask
from chorus_gateway.errors import GatewayError
from chorus_gateway.http1 import Client
from chorus_gateway.pipeline import Pipeline
from chorus_gateway.values import Usage


class Shape(Protocol):
    """One kind of stream: the events of a piece, of the usage, and of an error in the middle, ready to send in ASCII.
    Empty is no event. `done` follows all of them."""

    @property
    def done(self) -> bytes: ...

    def open(self, opening: Opening) -> None: ...

    def piece(self, piece: Piece) -> bytes: ...

    def usage(self, usage: Usage) -> bytes: ...

    def failure(self, error: GatewayError) -> bytes: ...


class ChunkShape:
    """What streams of completions have in common."""

    done = b"data: [DONE]\n\n"

    def failure(self, error: GatewayError) -> bytes:
        return f"data: {json.dumps(error_body(error))}\n\n".encode()


class EventStream(Response):
    """Runs the pipeline when it is sent. An error before the first event is raised, and becomes an answer with a status
    of its own; a later one is an event."""

    media_type = "text/event-stream"

    def __init__(self, pipeline: Pipeline, ask: Ask, shape: Shape) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._pipeline = pipeline
        self._ask = ask
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client: Client | None = scope.get("extensions", {}).get(Client.NAME)
        await while_connected(scope, receive, self._answer(_Events(self, self._shape, send, client)))

    async def _answer(self, events: "_Events") -> None:
        try:
            await self._pipeline.run(self._ask, events)
        except GatewayError as error:
            if not events.started:
                raise
            await events.end(self._shape.failure(error))


class _Events:
    """The pipeline's Answer."""

    def __init__(self, response: Response, shape: Shape, send: Send, client: Client | None) -> None:
        self.started = False
        self._client = client
        self._response = response
        self._shape = shape
        self._send = send

    @property
    def keeps_up(self) -> bool:
        return self._client is not None and self._client.free

    @property
    def reached(self) -> bool:
        return self.started

    def begin(self, opening: Opening) -> None:
        self._response.headers.update(opening.headers)
        self._shape.open(opening)

    async def write(self, piece: Piece) -> None:
        if not self.started:
            self.started = True
            headers = self._response.raw_headers
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if events := self._shape.piece(piece):
            await self._send({"type": "http.response.body", "body": events, "more_body": True})

    def write_now(self, piece: Piece) -> None:
        assert self._client is not None
        if events := self._shape.piece(piece):  # an empty chunk would end the answer
            self._client.write(events)

    async def finish(self, usage: Usage) -> None:
        await self.end(self._shape.usage(usage))

    async def end(self, last: bytes) -> None:
        await self._send({"type": "http.response.body", "body": last + self._shape.done, "more_body": False})
