from typing import Any

from chorus_gateway.tenants import ModelTerms
from chorus_gateway.values import BaseModel, Limits, Price, ResolvedModel, Tenant
from tests.gateway.support.door import Door

BASE = BaseModel("base", "b" * 64, "t" * 64, 512, (0,), created=1)
OF_BASE = ResolvedModel("base", BASE)
OF_SQL = ResolvedModel("base@sql", BASE, "d" * 64, owner="acme", adapter_name="sql", generation=1)


async def call(door: Door, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await door.http.request(method, f"/admin/v1{path}", json=body, headers=door.admin)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_prices_are_set_listed_and_removed(door: Door) -> None:
    shown = await call(door, "PUT", "/prices", {"model": "base", "input": "0.15", "cached": "0.05", "output": "0.6"})
    assert shown.pop("updated_at") > 1_600_000_000
    assert shown == {"model": "base", "adapter": None, "input": "0.15", "cached": "0.05", "output": "0.60"}
    other = {"model": "base", "adapter": "acme/sql", "input": "3", "output": "0.000001"}
    assert (await call(door, "PUT", "/prices", other))["cached"] == "3.00"
    assert [price["adapter"] for price in (await call(door, "GET", "/prices"))["data"]] == [None, "acme/sql"]
    assert await door.terms.of("acme", OF_BASE) == ModelTerms(Price(150_000, 50_000, 600_000))
    assert (await door.terms.of("acme", OF_SQL)).price == Price(3_000_000, 3_000_000, 1)
    await call(door, "DELETE", "/prices?model=base&adapter=acme/sql", status=204)
    assert (await door.terms.of("acme", OF_SQL)).price == Price(150_000, 50_000, 600_000)  # as its base
    await call(door, "DELETE", "/prices?model=base", status=204)
    assert (await door.terms.of("acme", OF_SQL)).price == Price()
    await call(door, "DELETE", "/prices?model=base", status=404)


WRONG_PRICES: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": "a" * 257}, "model"),
    ({"model": "a\x00"}, "model"),
    ({"adapter": "sql"}, "adapter"),
    ({"adapter": "acme/sql:1"}, "adapter"),
    ({"adapter": ""}, "adapter"),
    ({"input": 0.15}, "input"),
    ({"input": "0.0000001"}, "input"),
    ({"input": "-1"}, "input"),
    ({"input": "1000001"}, "input"),
    ({"input": None}, "input"),
    ({"output": "free"}, "output"),
    ({"cached": "0.2"}, "cached"),  # dearer than input
    ({"currency": "EUR"}, "currency"),
]


async def test_wrong_prices_are_named(door: Door) -> None:
    for change, param in WRONG_PRICES:
        body = {"model": "base", "input": "0.15", "output": "0.6"} | change
        assert (await call(door, "PUT", "/prices", body, 400))["error"]["param"] == param, change
    assert (await call(door, "GET", "/prices"))["data"] == []


async def test_limits_of_a_tenants_use_of_an_adapter(door: Door) -> None:
    await door.parts.tenants.create(Tenant("acme"))
    path = "/tenants/acme/adapter-limits"
    assert await door.terms.of("acme", OF_SQL) == ModelTerms()
    shown = await call(door, "PUT", f"{path}/acme/sql", {"tokens_per_minute": 7, "budget": "1.5"})
    assert (shown["adapter"], shown["limits"]["tokens_per_minute"]) == ("acme/sql", 7)
    assert (shown["limits"]["budget"], shown["limits"]["budget_period"]) == ("1.50", "month")
    limits = Limits(tokens_per_minute=7, budget=1_500_000_000)
    assert (await door.terms.of("acme", OF_SQL)).limits == limits
    assert (await door.terms.of("rival", OF_SQL)).limits == Limits()
    assert (await door.terms.of("acme", OF_BASE)).limits == Limits()
    assert await call(door, "GET", f"{path}/acme/sql") == shown
    assert (await call(door, "GET", path))["data"] == [shown]
    await call(door, "PUT", f"{path}/acme/sql", {"concurrent_requests": 2})
    assert (await door.terms.of("acme", OF_SQL)).limits == Limits(concurrent_requests=2)  # they replace
    await call(door, "DELETE", f"{path}/acme/sql", status=204)
    assert (await door.terms.of("acme", OF_SQL)).limits == Limits()
    for method in ("GET", "DELETE"):
        await call(door, method, f"{path}/acme/sql", status=404)


async def test_wrong_limits_of_adapters(door: Door) -> None:
    await door.parts.tenants.create(Tenant("acme"))
    path = "/tenants/acme/adapter-limits/acme"
    assert (await call(door, "PUT", f"{path}/sql", {"adapters": 3}, 400))["error"]["param"] == "adapters"
    assert (await call(door, "PUT", f"{path}/SQL", {}, 400))["error"]["param"] == "name"
    await call(door, "PUT", "/tenants/nobody/adapter-limits/acme/sql", {}, 404)
    await call(door, "GET", "/tenants/nobody/adapter-limits", status=404)
