import asyncio

import pytest

from chorus_gateway.engine_client.inbox import Inbox, News
from chorus_gateway.errors import Internal, Unavailable
from chorus_gateway.values import Delta


def news(index: int, *tokens: int) -> News:
    return News(index, Delta(tokens), at=0.0)


async def test_in_order() -> None:
    inbox = Inbox(10)
    inbox.put(news(0, 1))
    inbox.put(news(1, 2))
    assert [(await inbox.get()).index for _ in range(2)] == [0, 1]


async def test_who_waits_is_woken() -> None:
    inbox = Inbox(10)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(news(3, 1))
    assert (await waiting).index == 3


async def test_an_error_comes_after_what_was_there() -> None:
    inbox = Inbox(10)
    inbox.put(news(0, 1))
    inbox.fail(Unavailable("first"))
    inbox.fail(Internal("second"))
    assert (await inbox.get()).index == 0
    with pytest.raises(Unavailable, match="first"):
        await inbox.get()


async def test_the_bound_is_in_tokens_that_nobody_has_taken() -> None:
    inbox = Inbox(3)
    assert inbox.put(news(0, 1, 2, 3))
    assert not inbox.put(news(0, 4))
    await inbox.get()
    assert inbox.put(news(0, 5))
