"""An engine without model, network and threads: its real scheduler, slots, host memory, commands and registry.

One turn is the loop's. Fetches go as far as they are told to, so that anything may happen between their steps.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import torch

from chorus_engine.adapters import AdapterSupply, HostAdapter, HostCache, make_policy
from chorus_engine.adapters.arena import Span
from chorus_engine.adapters.host import Weights
from chorus_engine.adapters.region import Region
from chorus_engine.core.commands import Command, Outcome
from chorus_engine.core.errors import AdapterError, AdapterUnavailable
from chorus_engine.core.plan import SlotLoad, StepPlan, StepResult
from chorus_engine.core.request import FinishReason, Output, Request
from chorus_engine.core.spec import AdapterFootprint, Capacity
from chorus_engine.loop.inventory import Inventory
from chorus_engine.loop.orders import Orders
from chorus_engine.presence import Holdings, Registration, Registry
from chorus_engine.scheduler import Scheduler
from chorus_engine.scheduler.eviction import make_policy as make_slot_policy
from tests.engine.scheduler.fake_runner import FakeRunner, answer

CAPACITY = Capacity(
    max_model_len=64,
    max_num_seqs=6,
    max_num_batched_tokens=16,
    block_size=4,
    num_blocks=48,
    max_adapters=5,
    adapter_page_rows=8,
    adapter_pages=20,
    max_lora_rank=64,
)
POOL_BYTES, HOST_BYTES = 20 * 8 * 64, 16_384
MODEL, MODEL_DIGEST = "machine", "b" * 64


@dataclass
class Fetch:
    """One under way; `begin` once host memory has given it room."""

    footprint: AdapterFootprint
    asked: bool = False
    begin: int | None = None
    refused: AdapterError | None = None


class MemoryRunner(FakeRunner):
    """Also looks whether host memory really has what is copied into a slot, from the copy's begin to its end."""

    def __init__(self, requests: Mapping[str, Request], look: Callable[[str], None]) -> None:
        super().__init__(CAPACITY, requests, load_steps=2)
        self._look = look
        self._copies: dict[int, str] = {}

    def launch(self, plan: StepPlan) -> StepResult:
        for load in plan.load:
            self._begin_copy(load)
        for digest in self._copies.values():
            self._look(digest)
        result = super().launch(plan)
        for slot in result.loaded:
            del self._copies[slot]
        return result

    def _begin_copy(self, load: SlotLoad) -> None:
        self._copies[load.slot] = load.digest


class Heart:
    """Made inside the event loop. `footprints`: of every adapter that there is, by digest."""

    def __init__(
        self, name: str, redis_url: str, footprints: Mapping[str, AdapterFootprint], policy: str = "demand"
    ) -> None:
        self.name = name
        self.now = 0.0
        self.requests: dict[str, Request] = {}
        self.tokens: dict[str, list[int]] = {}
        self.ended: dict[str, Output] = {}
        self.fetches: dict[str, Fetch] = {}
        self.commands_ended = 0
        self._carrying: set[asyncio.Task[Any]] = set()
        self._footprints = footprints
        self._flights: deque[tuple[StepPlan, StepResult]] = deque()
        self._region = Region.create(HOST_BYTES)
        self.cache = HostCache(
            HOST_BYTES,
            make_policy(policy),
            needed=lambda digest: self.scheduler.awaits_adapter(digest),
            dropped=lambda digest: self.scheduler.adapter_evicted(digest),
            clock=self._clock,
        )
        self.scheduler = Scheduler(CAPACITY, 0.5, prefix_caching=False, eviction=make_slot_policy(policy))
        self.supply = AdapterSupply(
            self.cache,
            start=self._start,
            hasten=lambda digest: None,
            priority=self.scheduler.priority,
            shape=self._shape,
            clock=self._clock,
        )
        self._runner = MemoryRunner(self.requests, self._look)
        self.orders = Orders(self.scheduler.slots, self.supply)
        self._inventory = Inventory(self.scheduler.slots, self.supply)
        self.holdings = Holdings(CAPACITY.max_adapters, POOL_BYTES, self.supply.memory())
        registration = Registration(
            name, f"{name}:1", MODEL, MODEL_DIGEST, 0.0, CAPACITY.max_num_seqs, CAPACITY.max_lora_rank
        )
        self.registry = Registry(
            redis_url, registration, self.holdings, execute=self._execute, ended=self._count, timeout=2.0
        )
        self._beside = asyncio.create_task(self.registry.run())

    async def kill(self) -> None:
        """Without a word to anyone."""
        while tasks := {task for task in (self._beside, *self._carrying) if not task.done()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)
        # A process that dies takes its connections with it, and leaves its keys to lapse.
        await self.registry._commands.close()
        await self.registry._presence._redis.aclose()
        self._region.close()

    # ---------------------------------------------------------------- requests

    def submit(self, request: Request) -> None:
        self.requests[request.id] = request
        self.tokens[request.id] = []
        self.scheduler.add(request)

    def cancel(self, request_id: str) -> None:
        self.scheduler.cancel(request_id)

    @property
    def live(self) -> list[str]:
        return [request_id for request_id in self.requests if request_id not in self.ended]

    def turn(self, seconds: float = 0.01) -> bool:
        """False when there was nothing to do."""
        self.now += seconds
        for digest in self.scheduler.wanted_adapters():
            self.supply.want(digest)
        self.supply.pump()
        self.orders.advance(self.now)
        plan = self.scheduler.schedule(self.now)
        if plan is not None:
            self._flights.append((plan, self._runner.launch(plan)))
        elif not self._flights:
            self._publish(self.scheduler.take_outputs())
            return False
        if plan is None or len(self._flights) == 2:
            self._publish(self.scheduler.commit(*self._flights.popleft(), self.now))
        return True

    def _publish(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            self.tokens[output.request_id] += [token.token_id for token in output.tokens]
            if output.finish is not None:
                assert output.request_id not in self.ended, "a request ended twice"
                self.ended[output.request_id] = output
        changes = self._inventory.take_changes()
        self.holdings.take(changes, self._inventory.memory)
        self.registry.changed(changes)

    def reap(self) -> tuple[int, int]:
        """Judge what has ended and forget it: how many were answered whole, and how many were ended otherwise."""
        whole = 0
        for request_id, end in self.ended.items():
            request, tokens = self.requests.pop(request_id), self.tokens.pop(request_id)
            expected, finish = answer(request)
            if end.finish in (FinishReason.STOP, FinishReason.LENGTH):
                assert (tokens, end.finish) == (expected, finish), f"{request_id} got other tokens than its adapter's"
                whole += 1
            else:
                assert tokens == expected[: len(tokens)], f"{request_id} got other tokens than its adapter's"
        count = len(self.ended)
        self.ended.clear()
        return whole, count - whole

    # ---------------------------------------------------------------- fetches

    def advance_fetch(self, digest: str, *, good: bool) -> None:
        """A fetch goes on by one step: it asks for room, or ends."""
        fetch = self.fetches[digest]
        if not fetch.asked:
            fetch.asked = True
            if good:
                self.supply.room(fetch.footprint, fetch.footprint.bytes, lambda found: self._placed(fetch, found))
                return
        elif fetch.begin is not None and good:
            self._write(Span(fetch.begin, fetch.footprint.bytes), digest)
            del self.fetches[digest]
            self.scheduler.adapter_fetched(self.supply.arrived(digest))
            return
        elif fetch.begin is None and fetch.refused is None:
            return  # it waits for room
        del self.fetches[digest]
        error = fetch.refused or AdapterUnavailable("the store did not answer")
        self.supply.failed(digest, error)
        self.scheduler.adapter_failed(digest, error)

    def _start(self, digest: str, urgent: bool) -> None:
        assert digest not in self.fetches, f"adapter {digest} is fetched twice"
        self.fetches[digest] = Fetch(self._footprints[digest])

    def _placed(self, fetch: Fetch, found: int | AdapterError) -> None:
        if isinstance(found, AdapterError):
            fetch.refused = found
        else:
            fetch.begin = found

    def _shape(self, footprint: AdapterFootprint, span: Span) -> HostAdapter:
        return HostAdapter(footprint.digest, footprint, Weights(self._region.view(span, torch.uint8), {}))

    def _write(self, span: Span, digest: str) -> None:
        self._region.view(span, torch.uint8).fill_(_mark(digest))

    def _look(self, digest: str) -> None:
        values: Any = self.cache.get(digest).packed
        assert int(values[0]) == int(values[-1]) == _mark(digest), f"another's bytes lie where adapter {digest} was"

    # ---------------------------------------------------------------- commands

    async def _execute(self, command: Command) -> Outcome:
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        if command.until is not None:  # by the time that the world's turns take
            command = replace(command, until=self.now + command.until - time.monotonic())
        self.orders.give(command, self.now, ended.set_result)
        return await ended

    def _count(self, verb: str, status: str) -> None:
        self.commands_ended += 1

    # ---------------------------------------------------------------- laws

    def check(self) -> None:
        self.scheduler.check()
        self.supply.check()
        for digest in self.fetches:
            hosted = self.supply.get(digest)
            assert hosted is not None
            assert hosted.state == "fetching"

    def _clock(self) -> float:
        return self.now


def _mark(digest: str) -> int:
    return crc32(digest.encode()) % 251
