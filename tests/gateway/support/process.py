"""A gateway in a process of its own, on real Redis and SQLite."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.gateway.support.fake_engine import TOKEN
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer


@asynccontextmanager
async def gateway_process(
    folder: Path, redis: RedisServer, store: FakeStore, *, port: int, admin_key: str, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """The process and its admin API, which need not answer yet. `settings`: further variables."""
    variables = {
        "CHORUS_GATEWAY_PORT": str(port),
        "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/gateway.db",
        "CHORUS_REDIS_URL": redis.url,
        "CHORUS_STORE_ADDRESS": store.address,
        "CHORUS_SERVICE_TOKEN": TOKEN,
        "CHORUS_KEY_PEPPER": "a pepper for all tests",
        "CHORUS_NAMESPACE_SECRET": "a namespace secret of tests",
        "CHORUS_ADMIN_KEY": admin_key,
        "CHORUS_SHUTDOWN_GRACE": "0.3",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chorus_gateway", cwd=folder, env={**os.environ, **variables}
    )
    try:
        url, headers = f"http://127.0.0.1:{port}/admin/v1", {"authorization": f"Bearer {admin_key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as admin:
            yield process, admin
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)
