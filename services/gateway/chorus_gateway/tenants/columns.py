"""Between values and the columns that hold them."""

from collections.abc import Iterable

from chorus_gateway.db.models import LimitColumns
from chorus_gateway.values import Band, Limits

LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "concurrent_requests",
    "budget",
    "budget_period",
)


def set_limits(row: LimitColumns, limits: Limits) -> None:
    """Those on use; a tenant's limits on adapters are columns of its own."""
    for name in LIMITS:
        setattr(row, name, getattr(limits, name))


def bands_text(bands: Iterable[Band]) -> str:
    return ",".join(band.name.lower() for band in sorted(bands))


def words(text: str | None) -> tuple[str, ...] | None:
    """Of a column with a list, which is empty or not there where there is none."""
    return None if text is None else tuple(text.split())


def words_text(values: Iterable[str] | None) -> str | None:
    return None if values is None else " ".join(values)
