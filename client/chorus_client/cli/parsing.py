"""What people write on the command line, as values. Each raises Misuse with one sentence."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from chorus_client.accounts import Limits, Period
from chorus_client.cli.failure import Misuse

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
LIMITS = tuple(each.name.replace("_", "-") for each in fields(Limits) if each.name != "budget_period")
NO_LIMIT = "none"


@dataclass(frozen=True, slots=True)
class Ref:
    """An adapter, and one of its generations where a version is named."""

    tenant: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}" + (f":{self.version}" if self.version else "")


def reference(written: str, tenant: str | None) -> Ref:
    """`tenant/name[:version]`, or `name[:version]` of the tenant that is given beside it."""
    owner, slash, rest = written.rpartition("/")
    name, _, version = rest.partition(":")
    owner = owner if slash else tenant or ""
    if not name or "/" in owner or (slash and not owner):
        raise Misuse(f"{written!r} is no adapter: write tenant/name, or tenant/name:version.")
    if not owner:
        raise Misuse(f"Whose adapter is {written!r}? Write tenant/{written}, or add --tenant.")
    if slash and tenant and tenant != owner:
        raise Misuse(f"{written!r} is an adapter of {owner!r}, and --tenant says {tenant!r}.")
    return Ref(owner, name, version)


def pair(written: str) -> tuple[str, str]:
    """`owner/name`."""
    found = reference(written, None)
    if found.version:
        raise Misuse(f"{written!r} names a version: limits and prices are of all versions.")
    return found.tenant, found.name


def duration(written: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", written.strip())
    if match is None:
        raise Misuse(f"{written!r} is no duration: write one such as 45s, 30m, 12h, 30d or 2w.")
    try:
        return timedelta(seconds=float(match[1]) * UNITS[match[2]])
    except OverflowError as error:
        raise Misuse(f"{written!r} is longer than time is counted.") from error


def moment(written: str, *, now: datetime | None = None) -> datetime:
    """A date or a time, in UTC unless it names a zone; or a duration, which is that long ago."""
    if re.fullmatch(r"\d+(?:\.\d+)?[smhdw]", written):
        try:
            return (now or datetime.now(UTC)) - duration(written)
        except OverflowError as error:
            raise Misuse(f"{written!r} ago is before time is counted.") from error
    try:
        found = datetime.fromisoformat(written)
    except ValueError as error:
        raise Misuse(f"{written!r} is no time: write 2026-11-01, 2026-11-01T12:30, or 7d for a week ago.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def limits(written: Iterable[str]) -> dict[str, Any]:
    """Of `name=value` each, where `none` lifts a limit; by the names that the API has."""
    found: dict[str, Any] = {}
    for each in written:
        name, equals, value = each.partition("=")
        known = name.strip().replace("_", "-")
        if not equals or known not in LIMITS:
            raise Misuse(f"{each!r} is no limit: write name=value, where the name is one of {', '.join(LIMITS)}.")
        found |= _budget(value) if known == "budget" else {known.replace("-", "_"): _count(known, value)}
    return found


def money(written: str) -> Decimal:
    try:
        found = Decimal(written)
    except InvalidOperation as error:
        raise Misuse(f"{written!r} is no amount of money: write one such as 12.50.") from error
    if not found.is_finite() or found < 0:
        raise Misuse(f"{written!r} is no amount of money: it must be 0 or more.")
    return found


def listed(written: Iterable[str]) -> list[str]:
    """Of options that may be given several times, each with several values between commas."""
    return [part.strip() for each in written for part in each.split(",") if part.strip()]


def _count(name: str, written: str) -> int | None:
    if written == NO_LIMIT:
        return None
    if not written.isascii() or not written.isdigit() or int(written) < 1:
        raise Misuse(f"{name}={written} is no limit: give a whole number from 1, or {NO_LIMIT}.")
    return int(written)


def _budget(written: str) -> dict[str, Any]:
    """`12.50` a month, or `12.50/day`, `12.50/total`."""
    if written == NO_LIMIT:
        return {"budget": None}
    amount, slash, period = written.partition("/")
    if slash and period not in tuple(Period):
        raise Misuse(f"budget={written} is no budget: after the amount comes /{', /'.join(Period)}, or nothing.")
    return {"budget": money(amount), **({"budget_period": Period(period)} if slash else {})}
