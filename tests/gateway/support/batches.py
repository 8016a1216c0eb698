"""Batches without HTTP and without engines: real stores, and lines that are answered as a test likes."""

import asyncio
import collections
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter
from sqlalchemy import update

from chorus_gateway.batches import BatchStore, LineRules, Stores
from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.leases import Lease
from chorus_gateway.batches.run import Run
from chorus_gateway.batches.values import Batch, NewBatch
from chorus_gateway.batches.work import BatchWork
from chorus_gateway.db import Database, batches, files
from chorus_gateway.files import FileLimits, FileStore
from chorus_gateway.telemetry import Metrics

TENANT, KEY = "acme", "abcdefghijkl"
ENDPOINT = "/v1/completions"
LEASE = 30.0  # seconds

Replier = Callable[[Mapping[str, Any], int], "Answered | None"]


def line(number: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "chorus-demo", "prompt": f"p{number}"}
    return {"custom_id": f"c{number}", "method": "POST", "url": ENDPOINT, "body": body} | fields


def lines(count: int) -> bytes:
    return b"".join(json.dumps(line(number)).encode() + b"\n" for number in range(1, count + 1))


def good(body: Mapping[str, Any]) -> Answered:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    return Answered("req_1", 200, {}, json.dumps({"text": body["prompt"], "usage": usage}).encode())


def bad(status: int, headers: Mapping[str, str] | None = None, code: str | None = None) -> Answered:
    error = {"message": "no", "type": "some_error", "param": None, "code": code}
    return Answered("req_2", status, headers or {}, json.dumps({"error": error}).encode())


@dataclass
class FakeAsks:
    """`replier` is given a line's body and how often it was asked; what it leaves as None never ends."""

    replier: Replier = lambda body, tries: good(body)
    asked: collections.Counter[str] = field(default_factory=collections.Counter)
    running: int = 0
    most: int = 0  # that ran at once
    cancelled: int = 0

    async def ask(self, path: str, body: Mapping[str, Any], key: str) -> Answered:
        assert (path, key) == (ENDPOINT, KEY)
        self.asked[body["prompt"]] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001)
            answer = self.replier(body, self.asked[body["prompt"]])
            if answer is None:
                await asyncio.Future()
            assert answer is not None
            return answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


@dataclass
class Ground:
    """A tenant's files and batches, and processes that work on them."""

    database: Database
    asks: FakeAsks = field(default_factory=FakeAsks)
    rules: LineRules = field(default_factory=lambda: LineRules(concurrency=4, max_bytes=1000))
    counted: Counter = field(default_factory=lambda: Metrics().batch_lines_total)

    @property
    def files(self) -> FileStore:
        return FileStore(self.database, FileLimits())

    @property
    def store(self) -> BatchStore:
        return BatchStore(self.database)

    def stores(self, lease: float = LEASE) -> Stores:
        return Stores.of(self.database, self.files, lease_seconds=lease)

    def process(self, lease: float = LEASE, stores: Stores | None = None) -> "asyncio.Task[None]":
        work = BatchWork(stores or self.stores(lease), self.asks, self.rules, self.counted)
        return asyncio.create_task(work.run())

    def run(self, lease: Lease, stores: Stores) -> Run:
        return Run(lease, stores, self.asks, self.rules, self.counted)

    async def input(self, content: bytes, tenant: str = TENANT) -> str:
        upload = self.files.upload(tenant)
        await upload.write(content)
        return (await upload.finish("in.jsonl", "batch", None)).id

    async def create(self, content: bytes, tenant: str = TENANT) -> Batch:
        return await self.store.create(tenant, KEY, NewBatch(ENDPOINT, await self.input(content, tenant)))

    async def now(self, batch: Batch) -> Batch:
        return await self.store.get(batch.tenant, batch.id)

    async def worked(self, batch: Batch) -> Batch:
        """By one process, to its end."""
        process = self.process()
        try:
            return await self.over(batch)
        finally:
            process.cancel()
            await asyncio.gather(process, return_exceptions=True)

    async def over(self, batch: Batch) -> Batch:
        await reached(lambda: self._is_over(batch))
        return await self.now(batch)

    async def _is_over(self, batch: Batch) -> bool:
        now = await self.now(batch)
        return now.status in ("failed", "completed", "expired", "cancelled")

    async def set(self, batch: Batch, **values: Any) -> None:
        async with self.database.session() as session:
            await session.execute(update(batches).where(batches.c.id == batch.id).values(values))

    async def entries(self, file_id: str | None) -> list[Any]:
        if file_id is None:
            return []
        data = b"".join([piece async for piece in self.files.chunks(await self.files.get(TENANT, file_id))])
        return [json.loads(each) for each in data.splitlines()]

    async def answered(self, batch: Batch) -> list[str]:
        """The custom ids of both files."""
        batch = await self.now(batch)
        found = await self.entries(batch.output_file_id) + await self.entries(batch.error_file_id)
        return [str(each["custom_id"]) for each in found]


async def reached(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < until, "it did not come true"
        await asyncio.sleep(0.01)


def custom_ids(count: int) -> Sequence[str]:
    return [f"c{number}" for number in range(1, count + 1)]


async def age_file(database: Database, file_id: str, **values: Any) -> None:
    async with database.session() as session:
        await session.execute(update(files).where(files.c.id == file_id).values(values))
