from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chorus_client.accounts import Period
from chorus_client.cli import parsing
from chorus_client.cli.failure import Misuse
from chorus_client.cli.parsing import Ref


def test_an_adapters_name() -> None:
    assert parsing.reference("acme/sql", None) == Ref("acme", "sql")
    assert parsing.reference("sql:prod", "acme") == Ref("acme", "sql", "prod")
    assert parsing.reference("acme/sql:3", "acme") == Ref("acme", "sql", "3")


@pytest.mark.parametrize(
    ("written", "tenant"),
    [("sql", None), ("", "acme"), ("/sql", "acme"), ("a/b/c", None), ("acme/sql", "other"), (":1", "a")],
)
def test_what_is_no_adapters_name(written: str, tenant: str | None) -> None:
    with pytest.raises(Misuse):
        parsing.reference(written, tenant)


def test_limits() -> None:
    assert parsing.limits(["requests-per-minute=60", "tokens_per_day=none", "budget=12.50/day"]) == {
        "requests_per_minute": 60,
        "tokens_per_day": None,
        "budget": Decimal("12.50"),
        "budget_period": Period.DAY,
    }
    assert parsing.limits(["budget=3"]) == {"budget": Decimal(3)}
    assert parsing.limits(["budget=none"]) == {"budget": None}


@pytest.mark.parametrize(
    "written",
    [
        "requests-per-minute",
        "requests=60",
        "requests-per-minute=0",
        "requests-per-minute=-1",
        "requests-per-minute=1.5",
        "requests-per-minute=²",
        "budget=much",
        "budget=-1",
        "budget=NaN",
        "budget=1/week",
        "budget-period=day",
    ],
)
def test_what_is_no_limit(written: str) -> None:
    with pytest.raises(Misuse):
        parsing.limits([written])


def test_times() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert parsing.moment("7d", now=now) == datetime(2026, 11, 14, tzinfo=UTC)
    assert parsing.moment("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    assert parsing.moment("2026-11-01T02:00+02:00") == datetime(2026, 11, 1, tzinfo=UTC)
    assert parsing.duration("90") == timedelta(seconds=90)
    assert parsing.duration("1.5h") == timedelta(minutes=90)


@pytest.mark.parametrize("written", ["yesterday", "2026-13-01", "7x", "", "99999999999999w"])
def test_what_is_no_time(written: str) -> None:
    with pytest.raises(Misuse):
        parsing.moment(written)
    with pytest.raises(Misuse):
        parsing.duration(written)
