"""POST /v1/responses."""

import json
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response

from chorus_gateway.answer import Opening, Piece
from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.api.exchange import while_connected
from chorus_gateway.api.generation import ask_fields, generation_route
from chorus_gateway.api.schemas_events import RESPONSE_EVENT
from chorus_gateway.api.schemas_response_view import ResponseView
from chorus_gateway.api.schemas_responses import ResponseRequest
from chorus_gateway.api.sse import EventStream
from chorus_gateway.api.transcript import Event, Transcript
from chorus_gateway.ask import Ask
from chorus_gateway.errors import GatewayError
from chorus_gateway.pipeline import Pipeline
from chorus_gateway.values import Usage


def responses_router(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Responses"], route_class=DirectRoute)

    @router.post(
        "/responses", summary="Answer a conversation, in items", **generation_route(ResponseView, RESPONSE_EVENT)
    )
    async def create_response(request: Request, body: ResponseRequest) -> Response:
        """With `stream`, server-sent events such as `response.output_text.delta`; the last is `response.completed`."""
        body.check()
        ask = _ask(request, body)
        if body.stream:
            return EventStream(pipeline, ask, ResponseEvents(body))
        whole = WholeResponse(body)
        await while_connected(request.scope, request.receive, pipeline.run(ask, whole))
        content = json.dumps(whole.transcript.response())
        return Response(content, media_type="application/json", headers=whole.opening.headers)

    return router


def _ask(request: Request, body: ResponseRequest) -> Ask:
    tools = body.tool_use()
    return Ask(
        prompts=(body.prompt(tools),),
        prompt_field="input",
        tools=tools,
        max_tokens=body.max_output_tokens,
        max_tokens_field="max_output_tokens",
        sampling=body.sampling(body.top()),
        **ask_fields(request, body),
    )


class WholeResponse:
    """The pipeline's Answer for requests that do not stream."""

    opening: Opening
    transcript: Transcript

    def __init__(self, body: ResponseRequest) -> None:
        self._body = body

    @property
    def keeps_up(self) -> bool:
        return True

    @property
    def reached(self) -> bool:
        return False

    def begin(self, opening: Opening) -> None:
        self.opening = opening
        self.transcript = Transcript(self._body, opening)

    async def write(self, piece: Piece) -> None:
        self.write_now(piece)

    def write_now(self, piece: Piece) -> None:
        _exhaust(self.transcript.add(piece))

    async def finish(self, usage: Usage) -> None:
        _exhaust(self.transcript.finish(usage))


class ResponseEvents:
    """A stream's events, each with its name and number."""

    done = b""

    def __init__(self, body: ResponseRequest) -> None:
        self._body = body
        self._transcript: Transcript | None = None
        self._begun = False
        self._number = 0

    def open(self, opening: Opening) -> None:
        self._transcript = Transcript(self._body, opening)

    def piece(self, piece: Piece) -> bytes:
        transcript = self._opened
        first = b""
        if not self._begun:
            self._begun = True
            first = self._written(transcript.begin())
        return first + self._written(transcript.add(piece))

    def usage(self, usage: Usage) -> bytes:
        return self._written(self._opened.finish(usage))

    def failure(self, error: GatewayError) -> bytes:
        return self._written(self._opened.fail(error))

    @property
    def _opened(self) -> Transcript:
        assert self._transcript is not None
        return self._transcript

    def _written(self, events: Iterable[Event]) -> bytes:
        written = []
        for event in events:
            numbered = {**event, "sequence_number": self._number}
            self._number += 1
            written.append(f"event: {event['type']}\ndata: {json.dumps(numbered)}\n\n")
        return "".join(written).encode()


def _exhaust(events: Iterable[Event]) -> None:
    for _ in events:
        pass
