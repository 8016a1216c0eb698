"""GET /admin/v1/usage and GET /v1/usage."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping

import pytest
from redis.asyncio import Redis

from chorus_gateway.api import admin_usage
from chorus_gateway.api.admin_usage import usage_routers
from chorus_gateway.db import Database
from chorus_gateway.ledger import reports as reporting
from chorus_gateway.ledger.reports import Reports
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.values import Scope, Usage
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.ledger import AT, DAY, row

PATH = "/admin/v1/usage"
ACME: dict[str, object] = {
    "requests": 2,
    "prompt_tokens": 20,
    "cached_tokens": 12,
    "completion_tokens": 8,
    "computed_tokens": 40,
    "cost": "0.30",
}
OTHER: dict[str, object] = {
    "requests": 1,
    "prompt_tokens": 10,
    "cached_tokens": 6,
    "completion_tokens": 4,
    "computed_tokens": 20,
    "cost": "0.00000001",
}


@pytest.fixture
async def door(database: Database, redis: Redis) -> AsyncIterator[Door]:
    used = Usage(10, 4, 6)
    await UsageStore(database).add(
        [
            row("req_1", used=used, cost=100_000_000),
            row("req_2", used=used, cost=200_000_000, adapter="acme/sql", at=AT + 3600),
            row("req_3", used=used, cost=10, tenant="other", key="key2"),
        ]
    )
    routers = usage_routers(Reports(database))
    async with open_door(database, redis, "127.0.0.1:1", model="chorus-demo", routers=routers) as door:
        yield door


async def read(door: Door, query: Mapping[str, str], path: str = PATH, headers: dict[str, str] | None = None) -> str:
    answer = await door.http.get(path, params=query, headers=headers or door.admin)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_sums_as_json(door: Door) -> None:
    expected = [{"tenant": "acme"} | ACME, {"tenant": "other"} | OTHER]
    assert json.loads(await read(door, {})) == {"object": "list", "data": expected}
    assert json.loads(await read(door, {"tenant": "nobody"})) == {"object": "list", "data": []}


async def test_sums_as_lines_and_as_a_table(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "PART", 1)
    expected = [{"tenant": "acme", "day": DAY} | ACME, {"tenant": "other", "day": DAY} | OTHER]
    asked = {"by": "tenant,day"}
    assert [json.loads(line) for line in (await read(door, asked | {"format": "jsonl"})).splitlines()] == expected
    assert json.loads(await read(door, asked))["data"] == expected
    table = list(csv.DictReader(io.StringIO(await read(door, asked | {"format": "csv"}))))
    assert table == [{name: str(value) for name, value in each.items()} for each in expected]
    head = (await read(door, asked | {"tenant": "nobody", "format": "csv"})).strip()
    assert head.split(",") == ["tenant", "day", *ACME]


@pytest.mark.parametrize(
    "query",
    [
        {"adapter": "acme/sql"},
        {"from": str(int(AT) + 1)},
        {"from": "2027-01-15T09:00:00", "to": "2027-01-15T09:00:01"},
        {"from": "2027-01-15T10:00:00+01:00", "key": "key1"},
        {"from": DAY, "to": "2027-01-16", "by": "adapter,tenant", "adapter": "acme/sql"},
    ],
)
async def test_what_is_asked_narrows_it(door: Door, query: dict[str, str]) -> None:
    (found,) = json.loads(await read(door, query))["data"]
    assert (found["tenant"], found["requests"], found["cost"]) == ("acme", 1, "0.20")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"by": "colour"}, "by"),
        ({"by": ","}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"to": "-1"}, "to"),
        ({"to": "9" * 40}, "to"),
        ({"format": "xml"}, "format"),
    ],
)
async def test_what_is_not_understood_is_named(door: Door, query: dict[str, str], param: str) -> None:
    answer = await door.http.get(PATH, params=query, headers=door.admin)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_a_tenant_sees_its_own_and_nothing_else(door: Door) -> None:
    acme = await door.tenant_key("acme")
    found = json.loads(await read(door, {"by": "tenant,day", "tenant": "other"}, "/v1/usage", acme))["data"]
    assert found == [{"tenant": "acme", "day": DAY} | ACME]
    assert json.loads(await read(door, {}, "/v1/usage", await door.tenant_key("third")))["data"] == []
    assert (await door.http.get(PATH, headers=acme)).status_code == 403
    uploads = await door.tenant_key("acme", Scope.ADAPTERS)
    assert (await door.http.get("/v1/usage", headers=uploads)).status_code == 403
    assert (await door.http.get("/v1/usage", headers=door.admin)).status_code == 403
    assert (await door.http.get("/v1/usage")).status_code == 401


async def test_a_tenants_report_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read at once, so that a client who reads slowly holds nothing."""
    monkeypatch.setattr(admin_usage, "OWN_SUMS", 1)
    acme = await door.tenant_key("acme")
    assert len(json.loads(await read(door, {"by": "day"}, "/v1/usage", acme))["data"]) == 1
    answer = await door.http.get("/v1/usage", params={"by": "adapter"}, headers=acme)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "by"


async def test_the_database_away_is_a_status_and_no_half_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "statement", lambda _: (_ for _ in ()).throw(TimeoutError))
    answer = await door.http.get(PATH, headers=door.admin)
    assert answer.status_code == 503
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["tenant", "key", "adapter", "model"])
async def test_what_no_name_can_have_is_the_clients_mistake(door: Door, field: str) -> None:
    answer = await door.http.get(PATH, params={field: "a\x00b"}, headers=door.admin)  # PostgreSQL refuses to look
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
