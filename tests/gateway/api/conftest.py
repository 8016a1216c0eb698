from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, running_gateway, served
from tests.gateway.support.tokenizers import END, bundle, ids


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    """Answers "hello world" and end-of-text, unless the test says otherwise."""
    engine = await FakeEngine(bundle(), replier=lambda submit: Reply([*ids("hello world"), END])).start()
    yield engine
    await engine.stop()


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    async with running_gateway([engine]) as gateway:
        yield gateway
        await gateway.settles()


@pytest.fixture
async def url(gateway: Gateway) -> AsyncIterator[str]:
    async with served(gateway.app) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client
