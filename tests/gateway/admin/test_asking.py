"""What the path of a request is told of who asks, by the application as it is composed."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from chorus_gateway.api.chat import chat_router
from chorus_gateway.ask import Ask
from chorus_gateway.db import Database
from chorus_gateway.errors import InvalidRequest
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import FakeStore

BODY = {"model": "base", "messages": [{"role": "user", "content": "hello"}]}


class Asked:
    """A pipeline that remembers the ask and refuses it."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []

    async def run(self, ask: Ask, answer: object) -> None:
        self.asks.append(ask)
        raise InvalidRequest("seen")


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def asking(database: Database, redis: Redis, fake_store: FakeStore, asked: Asked) -> AsyncIterator[Door]:
    router = chat_router(asked)  # type: ignore[arg-type]  # as much of a pipeline as is asked for here
    async with open_door(database, redis, fake_store.address, model="base", routers=(router,)) as door:
        yield door


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_asked_from_its_address(asking: Door, asked: Asked, stream: bool) -> None:
    header = {"x-forwarded-for": "1.1.1.1, 198.51.100.7"}
    await asking.http.post("/v1/chat/completions", json=BODY | {"stream": stream}, headers=header)
    behind = httpx.ASGITransport(asking.app, client=("10.9.0.1", 1))  # one of the trusted proxies
    async with httpx.AsyncClient(transport=behind, base_url="http://gateway") as http:
        await http.post("/v1/chat/completions", json=BODY | {"stream": stream}, headers=header)
    assert [ask.client for ask in asked.asks] == ["127.0.0.1", "198.51.100.7"]
