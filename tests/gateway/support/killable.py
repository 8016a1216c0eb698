"""Gateway processes on one database and one journal, without Redis and without a store, to be killed."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from chorus_gateway.db import Database, connect, migrate, usage_requests
from chorus_gateway.prices import Prices
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Price, Scope, Tenant
from tests.gateway.support.fake_engine import TOKEN, FakeEngine
from tests.gateway.support.redis_server import free_port

PEPPER = "a pepper for all tests"
PATIENCE = 60.0  # seconds for whatever has to happen on a busy machine


@dataclass
class KillableGateway:
    url: str
    process: asyncio.subprocess.Process
    clients: list["asyncio.Task[str]"] = field(default_factory=list)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def gauge(self, name: str) -> float:
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as http:
            found = [line for line in (await http.get("/metrics")).text.splitlines() if line.startswith(f"{name} ")]
        return float(found[0].split()[1])


class Ground:
    """Where gateways start and die. Rows are read from the database that they share."""

    def __init__(self, folder: Path, engines: list[FakeEngine], database: Database, key: str) -> None:
        self.folder = folder
        self.engines = engines
        self.database = database
        self._key = key
        self._gateways: list[KillableGateway] = []

    @classmethod
    async def made(cls, folder: Path, engines: list[FakeEngine]) -> "Ground":
        database = connect(f"sqlite+aiosqlite:///{folder}/gateway.db")
        await migrate(database)
        await TenantStore(database).create(Tenant("acme"))
        key, _ = await KeyStore(database, pepper=PEPPER.encode()).create("acme", scopes=(Scope.INFER,))
        return cls(folder, engines, database, key.text)

    async def price(self, price: Price) -> None:
        """Of the base model."""
        await Prices(self.database).put("chorus-demo", "", price)

    async def start(self, **changes: str) -> KillableGateway:
        url = f"http://127.0.0.1:{(port := free_port())}"
        settings = {
            "CHORUS_GATEWAY_PORT": str(port),
            "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder}/gateway.db",
            "CHORUS_JOURNAL_DIR": str(self.folder / "journal"),
            "CHORUS_REDIS_URL": "redis://127.0.0.1:1/0",
            "CHORUS_STORE_ADDRESS": "127.0.0.1:1",
            "CHORUS_ENGINE_ADDRESSES": ",".join(engine.address for engine in self.engines),
            "CHORUS_SERVICE_TOKEN": TOKEN,
            "CHORUS_KEY_PEPPER": PEPPER,
            "CHORUS_NAMESPACE_SECRET": "a namespace secret of tests",
            "CHORUS_LOG_LEVEL": "error",
            **changes,
        }
        command = (sys.executable, "-m", "chorus_gateway")
        process = await asyncio.create_subprocess_exec(*command, cwd=self.folder, env={**os.environ, **settings})
        gateway = KillableGateway(url, process)
        self._gateways.append(gateway)
        await until(lambda: _ready(url))
        return gateway

    def ask(self, gateway: KillableGateway, count: int, **fields: Any) -> None:
        """Streams, each by a client that reads until the end or the kill."""
        for _ in range(count):
            gateway.clients.append(asyncio.create_task(self._stream(gateway.url, fields)))

    async def _stream(self, url: str, fields: dict[str, Any]) -> str:
        """What came, as it came."""
        body = {"model": "chorus-demo", "prompt": [5, 6, 7], "stream": True, "max_tokens": 100} | fields
        headers = {"authorization": f"Bearer {self._key}"}
        said = ""
        try:
            async with (
                httpx.AsyncClient(timeout=PATIENCE) as http,
                http.stream("POST", f"{url}/v1/completions", json=body, headers=headers) as answer,
            ):
                async for line in answer.aiter_lines():
                    said += f"{line}\n"
        except httpx.TransportError:
            pass
        return said

    async def rows(self) -> dict[str, dict[str, Any]]:
        async with self.database.session() as session:
            found = (await session.execute(select(usage_requests))).mappings().all()
        return {str(each["request_id"]): dict(each) for each in found}

    def journals(self) -> set[str]:
        """Workers whose journal is there."""
        return {path.name.partition(".")[0] for path in (self.folder / "journal").iterdir()}

    async def close(self) -> None:
        for gateway in self._gateways:
            for client in gateway.clients:
                client.cancel()
            await asyncio.gather(*gateway.clients, return_exceptions=True)
            if gateway.process.returncode is None:
                gateway.kill()
            await gateway.process.wait()
        await self.database.close()


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    """A coroutine function that comes to answer True."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.2)


async def _ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(base_url=url) as http:
            return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
