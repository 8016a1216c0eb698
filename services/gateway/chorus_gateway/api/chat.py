"""POST /v1/chat/completions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from chorus_gateway.answer import Opening, Piece, TokenEntry, TokenView
from chorus_gateway.api.best_of import leading
from chorus_gateway.api.collected import Collected, CollectedChoice
from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.api.exchange import while_connected
from chorus_gateway.api.generation import ask_fields, generation_route
from chorus_gateway.api.schemas_chat import (
    CallingMessage,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    ChatMessage,
    ChatRequest,
    LogprobView,
    TopLogprobView,
)
from chorus_gateway.api.schemas_events import CHAT_EVENT
from chorus_gateway.api.schemas_tools import CalledFunction, CallView
from chorus_gateway.api.schemas_usage import UsageView
from chorus_gateway.api.shapes import fingerprint, finite, quoted, tier_name
from chorus_gateway.api.sse import ChunkShape, EventStream
from chorus_gateway.ask import Ask
from chorus_gateway.pipeline import Pipeline
from chorus_gateway.tools import CallPiece
from chorus_gateway.values import Usage


def chat_router(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Chat"], route_class=DirectRoute)

    @router.post("/chat/completions", summary="Answer a conversation", **generation_route(ChatCompletion, CHAT_EVENT))
    async def create_chat_completion(request: Request, body: ChatRequest) -> Response:
        """With `stream`, server-sent events of `chat.completion.chunk` objects, then `data: [DONE]`."""
        body.check()
        ask = _ask(request, body)
        if body.stream:
            wanted = body.stream_options is not None and bool(body.stream_options.include_usage)
            return EventStream(pipeline, ask, ChatChunks(logprobs=bool(body.logprobs), include_usage=wanted))
        collected = Collected()
        await while_connected(request.scope, request.receive, pipeline.run(ask, collected))
        answer = _completion(collected, body)
        return Response(answer.model_dump_json(), media_type="application/json", headers=collected.opening.headers)

    return router


def _ask(request: Request, body: ChatRequest) -> Ask:
    older = body.max_completion_tokens is None
    tools = body.tool_use()
    ask = Ask(
        prompts=(body.prompt(tools),),
        tools=tools,
        prompt_field="messages",
        max_tokens=body.max_tokens if older else body.max_completion_tokens,
        max_tokens_field="max_tokens" if older else "max_completion_tokens",
        sampling=body.sampling(body.top()),
        **ask_fields(request, body),
    )
    beams = body.beams()
    return ask if beams is None else replace(ask, n=beams.width, beams=beams)


def _completion(collected: Collected, body: ChatRequest) -> ChatCompletion:
    opening, choices = collected.opening, collected.choices()
    if body.use_beam_search:
        choices = leading(choices, body.made, body.n or 1)
    return ChatCompletion(
        id=_id(opening),
        created=opening.created,
        model=opening.model.requested,
        choices=[_choice(choice, bool(body.logprobs)) for choice in choices],
        usage=UsageView.of(collected.usage),
        service_tier=tier_name(opening.band),
        system_fingerprint=fingerprint(opening),
    )


def _choice(choice: CollectedChoice, logprobs: bool) -> ChatChoice:
    return ChatChoice(
        index=choice.index,
        message=_message(choice),
        logprobs=_logprobs(choice.tokens) if logprobs else None,
        finish_reason=choice.end.value,
    )


def _message(choice: CollectedChoice) -> ChatMessage:
    if not choice.calls:
        return ChatMessage(content=choice.text)
    calls = [
        CallView(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments)) for call in choice.calls
    ]
    return CallingMessage(content=choice.text or None, tool_calls=calls)


def _logprobs(entries: Sequence[TokenEntry]) -> ChatLogprobs:
    return ChatLogprobs(
        content=[
            LogprobView(**_view(entry.token), top_logprobs=[TopLogprobView(**_view(view)) for view in entry.top])
            for entry in entries
        ]
    )


def _view(view: TokenView) -> dict[str, Any]:
    return {"token": view.text, "logprob": finite(view.logprob), "bytes": list(view.data)}


def _id(opening: Opening) -> str:
    return "chatcmpl-" + opening.request_id.removeprefix("req_")


def _calls(calls: Sequence[CallPiece]) -> str:
    """A delta, as JSON."""
    return f'{{"tool_calls":[{",".join(map(_call, calls))}]}}'


def _call(call: CallPiece) -> str:
    arguments = quoted(call.arguments)
    if not call.id:
        return f'{{"index":{call.index},"function":{{"arguments":{arguments}}}}}'
    function = f'{{"name":{quoted(call.name)},"arguments":{arguments}}}'
    return f'{{"index":{call.index},"id":"{call.id}","type":"function","function":{function}}}'


class ChatChunks(ChunkShape):
    """`chat.completion.chunk` events. What is the same in all of a stream's events is encoded once."""

    def __init__(self, *, logprobs: bool, include_usage: bool) -> None:
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._head = ""
        self._tail = ',"usage":null}\n\n' if include_usage else "}\n\n"
        self._around: dict[int, tuple[str, str]] = {}  # by index: what goes before and after a text, once it has begun

    def open(self, opening: Opening) -> None:
        head = {
            "id": _id(opening),
            "object": "chat.completion.chunk",
            "created": opening.created,
            "model": opening.model.requested,
            "service_tier": tier_name(opening.band),
            "system_fingerprint": fingerprint(opening),
        }
        self._head = "data: " + json.dumps(head)[:-1]

    def piece(self, piece: Piece) -> bytes:
        around = self._around.get(piece.index)
        if around is not None and piece.end is None and not (self._logprobs or piece.calls):  # nearly all of them
            return f"{around[0]}{quoted(piece.text)}{around[1]}".encode()
        events = self._first(piece.index) if around is None else ""
        if piece.text or (piece.tokens and not piece.calls):
            events += self._event(piece.index, f'{{"content":{quoted(piece.text)}}}', self._of(piece.tokens), "null")
        if piece.calls:
            tokens = () if piece.text else piece.tokens
            events += self._event(piece.index, _calls(piece.calls), self._of(tokens), "null")
        if piece.end is not None:
            events += self._event(piece.index, "{}", "null", f'"{piece.end}"')
        return events.encode()

    def usage(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return b""
        return f'{self._head},"choices":[],"usage":{UsageView.of(usage).model_dump_json()}}}\n\n'.encode()

    def _of(self, tokens: Sequence[TokenEntry]) -> str:
        return _logprobs(tokens).model_dump_json() if self._logprobs else "null"

    def _first(self, index: int) -> str:
        before, after = self._event(index, '{"content":\0}', "null", "null").split("\0")
        self._around[index] = before, after
        return self._event(index, '{"role":"assistant","content":"","refusal":null}', "null", "null")

    def _event(self, index: int, delta: str, logprobs: str, reason: str) -> str:
        choice = f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason}}}'
        return f'{self._head},"choices":[{choice}]{self._tail}'
