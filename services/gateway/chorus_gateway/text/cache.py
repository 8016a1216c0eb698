"""Tokenizers by digest, each fetched and built once."""

import asyncio
from collections.abc import Awaitable, Callable

from chorus_gateway.text.bundle import Bundle
from chorus_gateway.text.tokenizer import ModelTokenizer

# Streams the bundle of this digest from an engine that has it; Unavailable when none answers.
Fetch = Callable[[str], Awaitable[bytes]]


class TokenizerCache:
    """One a base model, so few: none is ever dropped. A failed fetch is tried again by the next request.

    `tool_format`: of all of them, instead of what their chat templates tell.
    """

    def __init__(self, fetch: Fetch, tool_format: str = "") -> None:
        self._fetch = fetch
        self._tool_format = tool_format
        self._ready: dict[str, ModelTokenizer] = {}
        self._loading: dict[str, asyncio.Task[ModelTokenizer]] = {}

    async def get(self, digest: str) -> ModelTokenizer:
        if (ready := self._ready.get(digest)) is not None:
            return ready
        task = self._loading.get(digest)
        if task is None:
            task = self._loading[digest] = asyncio.create_task(self._load(digest))
        # Shielded, for the others who wait for the same tokenizer.
        return await asyncio.shield(task)

    async def _load(self, digest: str) -> ModelTokenizer:
        try:
            data = await self._fetch(digest)
            tokenizer = await asyncio.to_thread(lambda: ModelTokenizer(Bundle(digest, data), self._tool_format))
            self._ready[digest] = tokenizer
            return tokenizer
        finally:
            del self._loading[digest]
