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


async def test_while_the_reader_waits_news_are_taken_at_once() -> None:
    inbox, taken = Inbox(10), set[int]()

    def take(offered: News) -> bool:
        taken.add(offered.index)
        return True

    inbox.offer_to(take)
    assert inbox.put(news(0, 1)), "nobody waits yet"
    assert (await inbox.get()).index == 0
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(news(1, 2))
    assert taken == {1}
    assert not waiting.done()
    waiting.cancel()


async def test_what_cannot_be_taken_at_once_stays_in_order() -> None:
    inbox, free = Inbox(10), False
    inbox.offer_to(lambda _: free)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(news(0, 1))
    free = True
    inbox.put(news(1, 2))  # must not overtake
    assert [(await waiting).index, (await inbox.get()).index] == [0, 1]


async def test_what_goes_wrong_at_once_is_the_readers() -> None:
    inbox = Inbox(10)

    def fail(_: News) -> bool:
        raise RuntimeError("broken")

    inbox.offer_to(fail)
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert inbox.put(news(0, 1)), "the one who brings them is not disturbed"
    with pytest.raises(RuntimeError, match="broken"):
        await waiting
