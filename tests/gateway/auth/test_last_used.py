import asyncio
from collections.abc import Mapping

import pytest

from chorus_gateway.auth import LastUsed, Use
from chorus_gateway.auth import last_used as module
from chorus_gateway.background import running
from chorus_gateway.db import Database
from chorus_gateway.errors import Unavailable
from chorus_gateway.tenants import KeyStore, TenantStore
from chorus_gateway.values import Scope, Tenant


class Book:
    def __init__(self) -> None:
        self.uses: dict[str, Use] = {}
        self.writes = 0
        self.away = False

    async def note_uses(self, uses: Mapping[str, Use]) -> None:
        if self.away:
            raise Unavailable("away")
        self.writes += 1
        self.uses |= uses


async def test_a_thousand_uses_are_one_write() -> None:
    book = Book()
    last_used = LastUsed(book)
    for at in range(1000):
        last_used.note("a", float(at))
        last_used.note("b", float(at))
    assert book.writes == 0
    await last_used.flush()
    await last_used.flush()
    assert (book.writes, book.uses) == (1, {"a": Use(999.0), "b": Use(999.0)})


async def test_what_could_not_be_written_is_written_later() -> None:
    book = Book()
    last_used = LastUsed(book)
    last_used.note("a", 1.0)
    last_used.note("b", 1.0)
    book.away = True
    await last_used.flush()
    last_used.note("a", 2.0)
    book.away = False
    await last_used.flush()
    assert book.uses == {"a": Use(2.0), "b": Use(1.0)}


async def test_the_rest_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 60.0)
    book = Book()
    last_used = LastUsed(book)
    async with running(last_used.run(), failed=lambda: None):
        await asyncio.sleep(0)
        last_used.note("a", 1.0)
    assert book.uses == {"a": Use(1.0)}


async def test_the_database_keeps_the_latest_use_and_the_new_fingerprint(any_database: Database) -> None:
    await TenantStore(any_database).create(Tenant("acme"))
    keys = KeyStore(any_database, pepper=b"old")
    key, info = await keys.create("acme", scopes=[Scope.INFER])
    other, _ = await keys.create("acme", scopes=[Scope.INFER])
    assert info.last_used_at is None
    await keys.note_uses({key.id: Use(7.5, key.fingerprint(b"new")), other.id: Use(8.0), "gone": Use(1.0)})
    await keys.note_uses({key.id: Use(5.0)})  # of another gateway, late
    assert (await keys.get(key.id)).last_used_at == 7.5
    assert (await keys.get(other.id)).last_used_at == 8.0
    found, unmoved = await keys.find(key.id), await keys.find(other.id)
    assert found is not None
    assert unmoved is not None
    assert found.fingerprint == key.fingerprint(b"new")
    assert unmoved.fingerprint == other.fingerprint(b"old")
