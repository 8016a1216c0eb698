"""POST /v1/tokenize and /v1/detokenize: what a model makes of a text, and back. Nothing reaches an engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request, Response

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.models import Catalog
from chorus_gateway.api.schemas_tokenize import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.planning import refuse_hopeless_prompt
from chorus_gateway.quota.base import Quota, Reservation, Used
from chorus_gateway.quota.bill import Bill
from chorus_gateway.reserving import reserved
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.values import Principal, ResolvedModel, Scope, Usage

_TOKENS_A_TURN = 8192  # written without a pause for other requests; as many take less than a millisecond


def tokenize_router(auth: Authenticator, models: Catalog, tokenizers: TokenizerCache, quota: Quota) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Tokens"], route_class=DirectRoute)

    async def asking(request: Request) -> Principal:
        return await auth.authenticate(request.headers.get("authorization"), Scope.INFER, client_of(request))

    async def resolved(who: Principal, name: str) -> tuple[ResolvedModel, ModelTokenizer]:
        model = await models.resolve(tenant_of(who), name, allowed=who.models)
        return model, await tokenizers.get(model.base.tokenizer_digest)

    @asynccontextmanager
    async def counted(request: Request, who: Principal) -> AsyncIterator[Reservation]:
        """It counts as a request of the tenant and the key, and uses no tokens: nothing is generated."""
        wanted = Bill.of_counting(who, tenant_of(who)).wanted(request.state.request_id, Usage(0, 0))
        async with reserved(quota, wanted, Used) as reservation:
            yield reservation

    @router.post(
        "/tokenize",
        summary="Tokens of a text or a conversation",
        response_model=None,
        responses={**ERRORS, 200: {"model": Tokenized, "description": "The tokens."}},
    )
    async def tokenize(request: Request, body: TokenizeRequest) -> Response:
        """Of a conversation: what its model would be given, up to where its answer begins."""
        body.check()
        who = await asking(request)
        model, tokenizer = await resolved(who, body.model)
        prompt = body.asked()
        refuse_hopeless_prompt(prompt, model, tokenizer.longest_token, body.field)
        async with counted(request, who) as reservation:
            ids = await tokenizer.encode(prompt, add_special_tokens=body.add_special_tokens)
            names = tokenizer if body.return_token_strs else None
            if len(ids) <= _TOKENS_A_TURN:
                content = _written(ids, model.base.max_model_len, names)
            else:
                content = await asyncio.to_thread(_written, ids, model.base.max_model_len, names)
        return Response(content, media_type="application/json", headers=reservation.headers)

    @router.post(
        "/detokenize",
        summary="The text of tokens",
        response_model=None,
        responses={**ERRORS, 200: {"model": Detokenized, "description": "The text."}},
    )
    async def detokenize(request: Request, body: DetokenizeRequest) -> Response:
        """Special tokens included."""
        who = await asking(request)
        _, tokenizer = await resolved(who, body.model)
        async with counted(request, who) as reservation:
            text = await tokenizer.text_of(body.tokens, "tokens")
        content = Detokenized(prompt=text).model_dump_json()
        return Response(content, media_type="application/json", headers=reservation.headers)

    return router


def _written(ids: Sequence[int], max_model_len: int, names: ModelTokenizer | None) -> bytes:
    """A Tokenized, with the tokens' names if somebody knows them."""
    turns = [ids[at : at + _TOKENS_A_TURN] for at in range(0, len(ids), _TOKENS_A_TURN)]
    tokens = ",".join(_items(turn) for turn in turns)
    strings = "null" if names is None else f"[{','.join(_items(names.token_names(turn)) for turn in turns)}]"
    return f'{{"count":{len(ids)},"max_model_len":{max_model_len},"tokens":[{tokens}],"token_strs":{strings}}}'.encode()


def _items(values: Sequence[int | str]) -> str:
    return json.dumps(values, separators=(",", ":"))[1:-1]
