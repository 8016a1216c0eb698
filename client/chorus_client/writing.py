"""Values as JSON."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from chorus_client.accounts import UseLimits

Money = Decimal | int | str  # a str such as "12.50"; no float, which would not be what was written


def given(limits: UseLimits) -> dict[str, Any]:
    """Those that limit anything. A budget's period goes with the budget."""
    values = {each.name: getattr(limits, each.name) for each in fields(limits)}
    if limits.budget is None:
        del values["budget_period"]
    return {name: _plain(value) for name, value in values.items() if value is not None}


def changes(limits: Mapping[str, Any] | None) -> dict[str, Any]:
    written = dict(limits or {})
    if written.get("budget") is not None:
        written["budget"] = amount(written["budget"])
    return written


def amount(money: Money) -> str:
    """As the API writes it: no exponent."""
    return format(Decimal(money), "f")


def seconds(duration: timedelta | float | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def moment(at: datetime | float | None) -> int | None:
    """Seconds since 1970. A datetime without a zone is local time, as Python has it."""
    return int(at.timestamp()) if isinstance(at, datetime) else None if at is None else int(at)


def _plain(value: Any) -> Any:
    return amount(value) if isinstance(value, Decimal) else value
