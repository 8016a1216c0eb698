"""So that gateways that miss an adapter at the same time have it loaded once: they agree in Redis on who loads it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.patience import patient
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.view import Look, View
from chorus_gateway.scripts import Script, Scripts
from chorus_gateway.values import ResolvedModel

LEASE_SECONDS = 5.0  # long enough for an engine to say that it fetches


@dataclass(frozen=True, slots=True)
class Claim:
    """`engine` loads the adapter, which holds for `seconds`. `won`: it is the caller's choice, made now."""

    engine: str
    won: bool
    seconds: float


class ClaimBook(Protocol):
    async def claim(self, adapter: str, engine: str, engines: Sequence[str]) -> Claim:
        """For `engine`, unless it is claimed for another one of `engines`: those that can be sent requests. A claim for
        an engine that is not among them is taken over. redis.RedisError or OSError when nobody knows."""
        ...


class RedisClaims:
    """A claim is deleted by nobody: it lapses."""

    def __init__(self, redis: Redis, *, lease: float = LEASE_SECONDS) -> None:
        self._lease = lease
        self._line = Scripts(redis)
        self._claim = Script.load("chorus_gateway.routing", "claim")

    async def claim(self, adapter: str, engine: str, engines: Sequence[str]) -> Claim:
        arguments = [str(round(self._lease * 1000)), engine, *engines]
        won, holder, left = await self._line.call(self._claim, [f"chorus:claim:{{{adapter}}}"], arguments)
        return Claim(str(holder), bool(won), max(0, int(left)) / 1000)

    async def aclose(self) -> None:
        await self._line.aclose()


class Claims:
    """A gateway's part in it. Jobs of one adapter share one call, and nothing is asked about an adapter that an engine
    has or was promised. Without an answer in `timeout` seconds the gateway goes by its own choice."""

    def __init__(
        self, book: ClaimBook, look: Look, promises: Promises, results: Counter, *, timeout: float = 0.1
    ) -> None:
        """`results` has the label `result`: won, contended or unavailable."""
        self._book = book
        self._look = look
        self._promises = promises
        self._results = results
        self._timeout = timeout
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def settle(self, model: ResolvedModel) -> None:
        """Returns once it is known which engine loads the model's adapter, or at once where that is no question."""
        if (asking := self.start(model)) is not None:
            await asyncio.wait({asking})

    def start(self, model: ResolvedModel) -> asyncio.Task[None] | None:
        """The same without waiting; the task, if there is anything to ask."""
        adapter = model.adapter
        if adapter is None:
            return None
        if adapter in self._asking:
            return self._asking[adapter]
        view = self._look(model.base.digest)
        # With one engine there is nothing to agree on.
        able = view.able(model.needs)
        if len(able) < 2 or view.placed(adapter):
            return None
        task = self._asking[adapter] = asyncio.create_task(self._ask(adapter, view, able))
        task.add_done_callback(lambda _: self._asking.pop(adapter, None))
        return task

    async def _ask(self, adapter: str, view: View, able: Sequence[Member]) -> None:
        wanted = view.best(able, adapter).id
        claim = await self._answer(adapter, wanted, [member.id for member in able])
        if claim is None:
            self._results.labels("unavailable").inc()
            self._promises.note(adapter, wanted, LEASE_SECONDS)
            return
        self._results.labels("won" if claim.won else "contended").inc()
        self._promises.note(adapter, claim.engine, claim.seconds)

    async def _answer(self, adapter: str, wanted: str, engines: Sequence[str]) -> Claim | None:
        try:
            async with patient(self._timeout):  # a gateway that just started is busy with itself
                return await self._book.claim(adapter, wanted, engines)
        except (RedisError, OSError):
            return None
