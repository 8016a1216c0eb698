"""What the client has of limits, keys, prices, usage and the audit log, against the gateway's application."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chorus_client import ChorusAdmin, Limits, NotFound, Period, Price, ServiceTier, UnexpectedAnswer, UseLimits
from chorus_client.reading import read
from chorus_client.writing import amount
from tests.client.conftest import Running

pytestmark = pytest.mark.xdist_group("client")  # one gateway for all of them

BUDGETED = Limits(tokens_per_day=100, budget=Decimal("12.50"), budget_period=Period.DAY)


def test_what_a_tenant_may(admin: ChorusAdmin) -> None:
    made = admin.tenants.create("limited", limits=BUDGETED, tiers=["flex"], default_max_tokens=7)
    assert (made.limits, made.tiers, made.default_max_tokens) == (BUDGETED, (ServiceTier.FLEX,), 7)
    changed = admin.tenants.change(
        "limited", limits={"budget": "3", "tokens_per_day": None}, tiers=ServiceTier, default_max_tokens=0
    )
    assert changed.limits == Limits(budget=Decimal(3), budget_period=Period.DAY)
    assert (set(changed.tiers), changed.default_max_tokens) == (set(ServiceTier), None)
    assert admin.tenants.change("limited", suspended=True).suspended
    assert admin.tenants.change("limited", weight=2).suspended
    admin.tenants.delete("limited")
    with pytest.raises(NotFound):
        admin.tenants.get("limited")


def test_what_a_tenant_may_of_one_adapter(admin: ChorusAdmin, tenant: str) -> None:
    limits = UseLimits(requests_per_minute=3, budget=Decimal("0.5"), budget_period=Period.TOTAL)
    assert admin.tenants.limit_adapter(tenant, "acme", "sql", limits).limits == limits
    assert [(use.adapter, use.limits) for use in admin.tenants.adapter_limits(tenant)] == [("acme/sql", limits)]
    admin.tenants.unlimit_adapter(tenant, "acme", "sql")
    with pytest.raises(NotFound):
        admin.tenants.unlimit_adapter(tenant, "acme", "sql")


def test_what_a_key_may(admin: ChorusAdmin, tenant: str) -> None:
    made = admin.keys.create(
        tenant, limits=UseLimits(concurrent_requests=2), models=["base@*"], networks=["10.0.0.0/8"]
    )
    assert (made.limits, made.models, made.networks) == (
        UseLimits(concurrent_requests=2),
        ("base@*",),
        ("10.0.0.0/8",),
    )
    changed = admin.keys.change(made.id, name="new", limits={"budget": 1, "concurrent_requests": None}, models=[])
    assert (changed.name, changed.limits, changed.models) == ("new", UseLimits(budget=Decimal(1)), None)
    assert changed.networks == made.networks
    assert admin.keys.get(made.id) == changed


def test_a_key_is_replaced(admin: ChorusAdmin, tenant: str) -> None:
    old = admin.keys.create(tenant, name="ci")
    new = admin.keys.rotate(old.id, overlap=timedelta(hours=1))
    assert (new.name, new.tenant, new.expires_at, new.key == old.key) == ("ci", tenant, None, False)
    replaced = admin.keys.get(old.id)
    assert replaced.replaced_by == new.id
    assert replaced.expires_at is not None
    assert abs(replaced.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


def test_an_administrators_key(admin: ChorusAdmin, gateway: Running) -> None:
    made = admin.keys.create_admin(name="ops", expires_in=60, networks=["127.0.0.0/8"])
    assert (made.tenant, made.scopes, made.networks) == (None, ("admin",), ("127.0.0.0/8",))
    assert made.id in [key.id for key in admin.keys.list_admin()]
    with ChorusAdmin(gateway.url, made.key) as other:
        assert other.tenants.list()
    admin.keys.revoke(made.id)


def test_prices(admin: ChorusAdmin) -> None:
    base = admin.prices.set("priced", input="0.15", output=2)
    assert base == Price("priced", Decimal("0.15"), Decimal("0.15"), Decimal(2))
    admin.prices.set("priced", adapter="acme/sql", input=1, cached=Decimal("0.5"), output="1")
    listed = {price.adapter: price for price in admin.prices.list() if price.model == "priced"}
    assert (listed[None], listed["acme/sql"].cached) == (base, Decimal("0.5"))
    admin.prices.remove("priced", adapter="acme/sql")
    admin.prices.remove("priced")
    with pytest.raises(NotFound):
        admin.prices.remove("priced")


def test_nothing_was_used(admin: ChorusAdmin, tenant: str, gateway: Running) -> None:
    now = datetime.now(UTC)
    assert admin.usage.sums(["tenant", "day"], start=now - timedelta(days=1), end=now, tenant=tenant) == ()
    assert "".join(admin.usage.export("csv", ["day"], tenant=tenant)).startswith("day,requests,")
    with ChorusAdmin(gateway.url, admin.keys.create(tenant).key) as own:
        assert own.usage.sums(["day"], own=True) == ()


def test_every_change_is_in_the_audit_log(admin: ChorusAdmin, tenant: str) -> None:
    before = admin.audit.verify()
    assert (before.ok, before.reason) == (True, None)
    key = admin.keys.create(tenant, name="audited")
    (entry,) = admin.audit.list(since=before.entries + 1)
    assert abs(entry.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert key.id in entry.object
    assert key.key not in str(entry)
    assert admin.audit.list(actor="nobody") == ()
    assert admin.audit.verify(head=before.head).ok
    assert not admin.audit.verify(head=f"{before.entries + 99}:{'0' * 64}").ok


def test_nothing_goes_on(admin: ChorusAdmin) -> None:
    live = admin.engines.live(most=3)
    assert (live.engines, live.tenants, live.total.running) == ((), (), 0)


def test_money_is_written_without_an_exponent() -> None:
    assert [amount(money) for money in (Decimal("1E-7"), Decimal("1E+3"), 2, "0.50")] == [
        "0.0000001",
        "1000",
        "2",
        "0.50",
    ]


def test_what_an_older_gateway_does_not_tell_has_a_default() -> None:
    assert read(UseLimits, {"tokens_per_day": 3}) == UseLimits(tokens_per_day=3)
    with pytest.raises(UnexpectedAnswer):
        read(Price, {"model": "base"})
