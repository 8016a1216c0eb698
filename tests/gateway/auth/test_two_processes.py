"""Two worker processes of one gateway: a revoked key is refused by both within a second, Redis there or away."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from chorus_gateway.auth import generate_key
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.process import gateway_process
from tests.gateway.support.redis_server import RedisServer, free_port

pytestmark = pytest.mark.slow
ADMIN = generate_key().text
CONNECTIONS = 24  # each new, so that both workers get some
BUSY = 30.0  # seconds; what a busy machine may make of the one that is promised


@dataclass
class TwoWorkers:
    port: int
    database: Path
    admin: httpx.AsyncClient

    async def key(self) -> tuple[str, str]:
        """(id, the key)"""
        made = (await self.admin.post("/tenants/acme/keys", json={})).json()
        return made["id"], made["key"]

    async def status(self, key: str) -> int:
        """Of one request on a connection of its own, for which the system chooses the worker."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()
        return status

    async def statuses(self, key: str) -> set[int]:
        return {await self.status(key) for _ in range(CONNECTIONS)}

    async def until_refused(self, key: str) -> float:
        """Seconds until the last request that was let in was sent."""
        began, let_in, refused = time.monotonic(), 0.0, 0
        while refused < CONNECTIONS:
            sent = time.monotonic() - began
            if await self.status(key) == 401:
                refused += 1
            else:
                let_in, refused = sent, 0
            assert sent < 2 * BUSY
        return let_in


@asynccontextmanager
async def two_workers(folder: Path, redis: RedisServer, store: FakeStore) -> AsyncIterator[TwoWorkers]:
    port = free_port()
    async with gateway_process(folder, redis, store, port=port, admin_key=ADMIN, CHORUS_GATEWAY_WORKERS="2") as (
        _,
        admin,
    ):
        await _ready(f"http://127.0.0.1:{port}")
        (await admin.post("/tenants", json={"id": "acme"})).raise_for_status()
        yield TwoWorkers(port, folder / "gateway.db", admin)


async def _ready(url: str) -> None:
    """Both workers write what they hold of the metrics down within moments of their start."""
    async with httpx.AsyncClient(base_url=url) as http:
        for _ in range(1200):
            try:
                text = (await http.get("/metrics")).text
                if all(f'gateway_worker_starts{{worker="{number}"}}' in text for number in range(2)):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError("two workers do not start")


async def test_a_revocation_reaches_both(tmp_path: Path, own_redis_server: RedisServer) -> None:
    store = await FakeStore("chorus-demo").start()
    async with two_workers(tmp_path, own_redis_server, store) as gateway:
        key_id, key = await gateway.key()
        assert await gateway.statuses(key) == {200}
        (await gateway.admin.delete(f"/keys/{key_id}")).raise_for_status()
        by_event = await gateway.until_refused(key)

        key_id, key = await gateway.key()
        own_redis_server.stop()
        assert await gateway.statuses(key) == {200}
        assert (await gateway.admin.delete(f"/keys/{key_id}")).status_code == 503
        assert await gateway.statuses(key) == {200}
        with closing(sqlite3.connect(gateway.database)) as connection, connection:
            connection.execute("UPDATE api_keys SET revoked_at = 1.0 WHERE id = ?", (key_id,))
        by_time = await gateway.until_refused(key)
        print(f"refused everywhere after {by_event:.2f} s by event and {by_time:.2f} s by time")
        assert max(by_event, by_time) < BUSY
    await store.stop()
