"""POST /v1/tokenize and /v1/detokenize: what a model makes of a text, and back. Nothing reaches an engine."""

from fastapi import APIRouter, Request

from chorus_gateway.api.dependencies import client_of
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.models import Catalog
from chorus_gateway.api.schemas_tokenize import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.planning import refuse_hopeless_prompt
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.values import ResolvedModel, Scope


def tokenize_router(auth: Authenticator, models: Catalog, tokenizers: TokenizerCache) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Tokens"], responses=ERRORS)

    async def resolved(request: Request, name: str) -> tuple[ResolvedModel, ModelTokenizer]:
        header = request.headers.get("authorization")
        asking = await auth.authenticate(header, Scope.INFER, client_of(request))
        model = await models.resolve(tenant_of(asking), name, allowed=asking.models)
        return model, await tokenizers.get(model.base.tokenizer_digest)

    @router.post("/tokenize", summary="Tokens of a text or a conversation")
    async def tokenize(request: Request, body: TokenizeRequest) -> Tokenized:
        """Of a conversation: what its model would be given, up to where its answer begins."""
        body.check()
        model, tokenizer = await resolved(request, body.model)
        prompt = body.asked()
        refuse_hopeless_prompt(prompt, model, tokenizer.longest_token, body.field)
        ids = await tokenizer.encode(prompt, add_special_tokens=body.add_special_tokens)
        names = [tokenizer.token_name(token) for token in ids] if body.return_token_strs else None
        return Tokenized(count=len(ids), max_model_len=model.base.max_model_len, tokens=list(ids), token_strs=names)

    @router.post("/detokenize", summary="The text of tokens")
    async def detokenize(request: Request, body: DetokenizeRequest) -> Detokenized:
        """Special tokens included."""
        _, tokenizer = await resolved(request, body.model)
        return Detokenized(prompt=tokenizer.text_of(body.tokens))

    return router
