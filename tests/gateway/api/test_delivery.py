"""Tokens on their way to the client: each an event as it comes, and none out of turn."""

import asyncio

import pytest
from openai import AsyncOpenAI

from chorus_gateway.answer import Piece
from chorus_gateway.http1 import Client
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import Gateway
from tests.gateway.support.tokenizers import ids

TEXT = "the quick brown fox jumps over the lazy dog"
TOKENS = ids(TEXT) * 10


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went to the socket without ASGI."""
    seen: list[bytes] = []
    write = Client.write

    def note(self: Client, data: bytes) -> None:
        seen.append(data)
        write(self, data)

    monkeypatch.setattr(Client, "write", note)
    return seen


@pytest.mark.parametrize("pause", [0.0, 0.001])
async def test_every_token_is_an_event(
    engine: FakeEngine, client: AsyncOpenAI, written: list[bytes], pause: float
) -> None:
    engine.replier = lambda submit: Reply(TOKENS, pause=pause)
    stream = await client.chat.completions.create(
        model="chorus-demo", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=400
    )
    texts = [event.choices[0].delta.content or "" async for event in stream]
    assert sum(map(bool, texts)) == len(TOKENS)
    assert "".join(texts).replace(" ", "") == (TEXT * 10).replace(" ", "")
    assert pause == 0 or written


class Fickle(Heard):
    """A client that keeps up now and then."""

    @property
    def keeps_up(self) -> bool:
        return len(self.pieces) % 3 > 0

    def write_now(self, piece: Piece) -> None:
        self.pieces.append(piece)


async def test_nothing_overtakes_what_waits_for_the_client(gateway: Gateway, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply(TOKENS, pause=0.001)
    fickle, steady = Fickle(pause=0.002), Heard()
    await asyncio.gather(gateway.pipeline.run(ask("a"), fickle), gateway.pipeline.run(ask("b"), steady))
    assert fickle.text == steady.text
    assert fickle.usage == steady.usage
