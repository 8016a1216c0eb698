"""POST /v1/completions."""

import json
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from chorus_gateway.answer import End, Opening, Piece, TokenEntry
from chorus_gateway.api.best_of import best, leading
from chorus_gateway.api.collected import Collected, CollectedChoice
from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.api.exchange import while_connected
from chorus_gateway.api.generation import ask_fields, generation_route
from chorus_gateway.api.schemas_completions import (
    DEFAULT_MAX_TOKENS,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
)
from chorus_gateway.api.schemas_events import COMPLETION_EVENT
from chorus_gateway.api.schemas_usage import UsageView
from chorus_gateway.api.shapes import fingerprint, finite, legacy_token, quoted, tier_name
from chorus_gateway.api.sse import ChunkShape, EventStream
from chorus_gateway.ask import Ask
from chorus_gateway.pipeline import Pipeline
from chorus_gateway.values import Usage


def completions_router(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Completions"], route_class=DirectRoute)

    @router.post("/completions", summary="Continue a text", **generation_route(Completion, COMPLETION_EVENT))
    async def create_completion(request: Request, body: CompletionRequest) -> Response:
        """With `stream`, server-sent events of `text_completion` objects, then `data: [DONE]`."""
        body.check()
        ask = _ask(request, body)
        if body.stream:
            wanted = body.stream_options is not None and bool(body.stream_options.include_usage)
            return EventStream(pipeline, ask, CompletionChunks(logprobs=body.logprobs, include_usage=wanted))
        collected = Collected()
        await while_connected(request.scope, request.receive, pipeline.run(ask, collected))
        answer = _completion(collected, body)
        return Response(answer.model_dump_json(), media_type="application/json", headers=collected.opening.headers)

    return router


def _ask(request: Request, body: CompletionRequest) -> Ask:
    # The best of several is told by their log probabilities.
    beams = body.beams()
    ranked = body.made > (body.n or 1) and body.logprobs is None and beams is None
    ask = Ask(
        prompts=body.prompt,
        prompt_field="prompt",
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        max_tokens_field="max_tokens",
        sampling=replace(
            body.sampling(0 if ranked else body.logprobs), prompt_logprobs=body.logprobs if body.echo else None
        ),
        echo=bool(body.echo),
        **ask_fields(request, body),
    )
    return replace(ask, n=body.made, beams=beams)


def _completion(collected: Collected, body: CompletionRequest) -> Completion:
    opening = collected.opening
    choose = leading if body.use_beam_search else best
    return Completion(
        id=_id(opening),
        created=opening.created,
        model=opening.model.requested,
        choices=[_choice(choice, body.logprobs) for choice in choose(collected.choices(), body.made, body.n or 1)],
        usage=UsageView.of(collected.usage),
        service_tier=tier_name(opening.band),
        system_fingerprint=fingerprint(opening),
    )


def _choice(choice: CollectedChoice, logprobs: int | None) -> CompletionChoice:
    return CompletionChoice(
        index=choice.index,
        text=choice.text,
        logprobs=None if logprobs is None else _logprobs(choice.tokens, logprobs),
        finish_reason="length" if choice.end is End.LENGTH else "stop",
    )


def _logprobs(entries: Sequence[TokenEntry], top: int) -> CompletionLogprobs:
    tops = [
        {legacy_token(view): finite(view.logprob) for view in entry.top} if entry.has_past else None
        for entry in entries
    ]
    return CompletionLogprobs(
        tokens=[legacy_token(entry.token) for entry in entries],
        token_logprobs=[finite(entry.token.logprob) if entry.has_past else None for entry in entries],
        top_logprobs=tops if top else None,
        text_offset=[entry.offset for entry in entries],
    )


def _id(opening: Opening) -> str:
    return "cmpl-" + opening.request_id.removeprefix("req_")


class CompletionChunks(ChunkShape):
    """`text_completion` events. What is the same in all of a stream's events is encoded once."""

    def __init__(self, *, logprobs: int | None, include_usage: bool) -> None:
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._head = ""
        self._tail = ',"usage":null}\n\n' if include_usage else "}\n\n"

    def open(self, opening: Opening) -> None:
        head = {
            "id": _id(opening),
            "object": "text_completion",
            "created": opening.created,
            "model": opening.model.requested,
            "service_tier": tier_name(opening.band),
            "system_fingerprint": fingerprint(opening),
        }
        self._head = "data: " + json.dumps(head)[:-1]

    def piece(self, piece: Piece) -> bytes:
        logprobs = "null" if self._logprobs is None else _logprobs(piece.tokens, self._logprobs).model_dump_json()
        reason = "null" if piece.end is None else f'"{piece.end}"'
        text = quoted(piece.text)
        choice = f'{{"text":{text},"index":{piece.index},"logprobs":{logprobs},"finish_reason":{reason}}}'
        return f'{self._head},"choices":[{choice}]{self._tail}'.encode()

    def usage(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return b""
        return f'{self._head},"choices":[],"usage":{UsageView.of(usage).model_dump_json()}}}\n\n'.encode()
