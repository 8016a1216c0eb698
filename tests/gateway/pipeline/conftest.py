from collections.abc import AsyncIterator

import pytest

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, bundle, ids


@pytest.fixture
async def engines() -> AsyncIterator[list[FakeEngine]]:
    """Two of the same base model. Each answers with its own name."""

    def make(name: str) -> FakeEngine:
        return FakeEngine(bundle(), replier=lambda submit: Reply([*ids(name), END]), engine_id=name)

    engines = [await make(name).start() for name in ("first", "second")]
    yield engines
    for engine in engines:
        await engine.stop()
