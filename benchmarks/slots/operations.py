"""Random operations on a fleet of real processes: upload, promote, pin, request, kill, restart, flush, delete.

Every answer must come from weights that its name meant when it was asked, and is kept for the oracle. A request may
fail only while something that it needs was killed; never because Redis was, or lost everything.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.slots import adapters
from benchmarks.slots.catalog import ABSENT, Catalog, Target
from benchmarks.slots.client import Answer, Client
from scripts.stack.config import DEMO_NAME
from tests.support.adapters import form
from tests.support.fleet import names_of, redis_of
from tests.support.stack import Stack, Tenant

WEIGHTS = {"request": 70, "upload": 10, "promote": 7, "pin": 2, "unpin": 2, "delete": 3, "kill": 1.5, "flush": 1.5}
AT_ONCE = 12  # requests
NAMES = 24  # adapters, about
PINS = 3  # at once
DOWN = (0.3, 1.5)  # seconds until what was killed is started again
PAUSE = 0.3  # seconds after what could not be done
SETTLED = 4.0  # seconds after a restart by which nothing may fail for it any more
NEVER_FAILS_FOR = ("redis",)


@dataclass
class Outcome:
    done: Counter[str] = field(default_factory=Counter)  # operations
    killed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # administration that was refused or did not answer
    answers: list[Answer] = field(default_factory=list)  # `model` is what answered: base@digest
    excused: int = 0  # requests that failed while what they needed was down
    wrong: list[str] = field(default_factory=list)  # a sentence each


class Operations:
    """`folder` gets every upload as PEFT reads it, by digest."""

    def __init__(self, stack: Stack, tenant: Tenant, folder: Path, seed: int) -> None:
        self._stack = stack
        self._tenant = tenant
        self._folder = folder
        self._draw = random.Random(seed)
        self.catalog = Catalog(self._draw)
        self._client = Client(stack.url, tenant.key)
        self._redis: Any = redis_of(stack)
        self._admin = httpx.AsyncClient(
            base_url=stack.url,
            headers={"authorization": f"Bearer {stack.admin.key}"},
            timeout=30,
            trust_env=False,
        )
        self._running: set[asyncio.Task[None]] = set()
        self._restart: asyncio.Task[None] | None = None
        self._trouble = 0.0  # until when requests may fail
        self._uploads = seed * 100_000
        self.outcome = Outcome()

    async def run(self, count: int, note: Callable[[str], None]) -> Outcome:
        for _ in range(4):
            await self._upload()
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        for number in range(count):
            note(f"{number} of {count} operations")
            kind = self._draw.choices(kinds, weights)[0]
            self.outcome.done[kind] += 1
            await getattr(self, f"_{kind}")()
        await self._settle()
        await self._admin.aclose()
        return self.outcome

    async def _settle(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        if self._restart is not None:
            await self._restart

    # ---------------------------------------------------------------- requests

    async def _request(self) -> None:
        name = self.catalog.any()
        if name is None:
            await asyncio.sleep(PAUSE)
            return
        while len(self._running) >= AT_ONCE:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        written, target = self.catalog.target(name)
        task = asyncio.create_task(self._ask(written, target))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.sleep(self._draw.random() * 0.02)

    async def _ask(self, written: str, target: Target) -> None:
        prompt = [self._draw.randrange(10, 384) for _ in range(self._draw.randint(4, 40))]
        asked, allowed = time.monotonic(), target.allowed(time.monotonic())
        answer = await self._client.ask(f"{DEMO_NAME}@{written}", prompt, self._draw.randint(1, 12), names=True)
        allowed |= target.allowed(asked)  # it may have changed before the gateway looked
        self._judge(answer, target, allowed, asked)

    def _judge(self, answer: Answer, target: Target, allowed: set[str], asked: float) -> None:
        if not answer.failure:
            used = answer.fingerprint.rpartition("_")[2]
            digest = next((digest for digest in allowed if digest and digest.startswith(used)), None)
            if digest is None:
                if target.unsure:
                    return
                self.outcome.wrong.append(f"{answer.model} was answered by {used}, which it did not mean: {allowed}")
                return
            answer.model = f"{DEMO_NAME}@{digest}"
            self.outcome.answers.append(answer)
        elif answer.status == 404:
            if ABSENT not in allowed and not target.unsure:
                self.outcome.wrong.append(f"{answer.model} was not found: {answer.failure}")
        elif asked < self._trouble:
            self.outcome.excused += 1
        else:
            self.outcome.wrong.append(f"{answer.model} failed with nothing down: {answer.failure}")

    # ---------------------------------------------------------------- administration

    async def _upload(self) -> None:
        known = len(self.catalog.entries) >= NAMES or self._draw.random() < 0.4
        name = (self.catalog.any() if known else None) or self.catalog.fresh()
        self._uploads += 1
        adapter = adapters.small(self._uploads)
        described = await self._ask_admin("upload", name, "POST", "", **form(self._tenant.name, name, adapter))
        if described is not None:
            digest = str(described["digest"])
            adapters.write(adapter, self._folder / digest)
            self.catalog.uploaded(name, int(described["generation"]), digest)

    async def _promote(self) -> None:
        if (name := self.catalog.any()) is not None:
            entry = self.catalog.entries[name]
            generation = self._draw.choice(sorted(entry.generations))
            path = f"/{self._tenant.name}/{name}/aliases/prod"
            if await self._ask_admin("promote", name, "PUT", path, json={"generation": generation}) is not None:
                entry.prod.point(entry.generations[generation])

    async def _pin(self) -> None:
        pinned = sum(entry.pinned for entry in self.catalog.entries.values())
        if pinned < PINS and (name := self.catalog.any()) is not None:
            body = {"tier": self._draw.choice(["gpu", "host"])}
            if await self._ask_admin("pin", name, "PUT", f"/{self._tenant.name}/{name}/pin", json=body) is not None:
                self.catalog.entries[name].pinned = True

    async def _unpin(self) -> None:
        name = next((name for name, entry in self.catalog.entries.items() if entry.pinned), None)
        if name is not None and await self._ask_admin("unpin", name, "DELETE", f"/{self._tenant.name}/{name}/pin"):
            self.catalog.entries[name].pinned = False

    async def _delete(self) -> None:
        name = self.catalog.any() if len(self.catalog.entries) > 3 else None
        if name and await self._ask_admin("delete", name, "DELETE", f"/{self._tenant.name}/{name}") is not None:
            self.catalog.deleted(name)

    async def _ask_admin(self, what: str, name: str, method: str, path: str, **body: Any) -> dict[str, Any] | None:
        """The answer; None when there is none, after which nobody can say what the name means."""
        try:
            answer = await self._admin.request(method, f"/admin/v1/adapters{path}", **body)
        except httpx.TransportError as error:
            self.outcome.wrong.append(f"{what} of {name}: the gateway did not answer: {error!r}")
            return None
        if answer.is_success:
            return dict(answer.json()) if answer.content else {"done": True}
        self.outcome.refused[f"{what} {answer.status_code}"] += 1
        if answer.status_code >= 500:
            self.catalog.give_up(name)
            await asyncio.sleep(PAUSE)  # else all operations would be over before what is down is back
            if time.monotonic() > self._trouble and answer.status_code != 503:
                self.outcome.wrong.append(f"{what} of {name} failed with nothing down: {answer.text}")
        return None

    # ---------------------------------------------------------------- trouble

    async def _kill(self) -> None:
        """One at a time, so that there is always someone to go on with."""
        if self._restart is not None and not self._restart.done():
            return
        choices = [*names_of(self._stack, "engine"), *names_of(self._stack, "adapter-store"), "redis"]
        name = self._draw.choice(choices)
        self.outcome.killed[name] += 1
        if name not in NEVER_FAILS_FOR:
            self._trouble = float("inf")
        await asyncio.to_thread(self._stack.kill, name)
        self._restart = asyncio.create_task(self._bring_back(name))

    async def _bring_back(self, name: str) -> None:
        await asyncio.sleep(self._draw.uniform(*DOWN))
        self._stack.start(name)
        await asyncio.to_thread(self._stack.await_healthy, name)
        if name not in NEVER_FAILS_FOR:
            self._trouble = time.monotonic() + SETTLED

    async def _flush(self) -> None:
        if self._restart is None or self._restart.done():
            await asyncio.to_thread(self._redis.flushall)
