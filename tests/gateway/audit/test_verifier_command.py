import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from chorus_gateway.audit import AuditLog
from chorus_gateway.audit.__main__ import main
from chorus_gateway.db import connect, migrate
from tests.gateway.audit.test_log import change, record, tamper


async def test_it_verifies_a_database_without_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = connect(f"sqlite+aiosqlite:///{tmp_path}/gateway.db")
    await migrate(database)
    log = AuditLog(database)
    await record(log, *(change(f"tenants/{i}") for i in range(3)))
    head = (await log.verify()).head
    monkeypatch.setenv("CHORUS_GATEWAY_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/gateway.db")
    assert await run() == 0
    assert capsys.readouterr().out == f"3 entries are good; head 3:{head.hash}\n"
    assert await run("--head", f"4:{head.hash}") == 1
    assert "broken at entry 4" in capsys.readouterr().out
    await tamper(database, "UPDATE audit SET client = '' WHERE seq = 2")
    assert await run() == 1
    assert capsys.readouterr().out == "broken at entry 2: its hash is not that of its content; 1 before it are good\n"
    async with database.session() as session:
        await session.execute(text("DROP TABLE audit"))
    assert await run() == 2
    assert capsys.readouterr().err.startswith("chorus_gateway.audit: The gateway's database does not answer")
    await database.close()


async def test_a_wrong_url_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CHORUS_GATEWAY_DATABASE_URL", "mysql://somewhere")
    assert await run() == 2
    assert "CHORUS_GATEWAY_DATABASE_URL is wrong" in capsys.readouterr().err


async def run(*arguments: str) -> int:
    """In a thread, with a loop of its own."""
    return await asyncio.to_thread(main, arguments)
