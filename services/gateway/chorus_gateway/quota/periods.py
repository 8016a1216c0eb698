"""Days and months of UTC, numbered."""

from datetime import UTC, datetime

from chorus_gateway.values import Period

DAY_SECONDS = 86_400


def number_of(period: Period, at: float) -> int:
    """Which day or month since year 0 holds `at` (seconds since 1970); 0 of a TOTAL. Grows with time."""
    if period is Period.TOTAL:
        return 0
    if period is Period.DAY:
        return int(at // DAY_SECONDS)
    date = datetime.fromtimestamp(at, UTC)
    return date.year * 12 + date.month - 1


def start_of(period: Period, at: float) -> float:
    """When the period that holds `at` began, in seconds since 1970."""
    if period is Period.TOTAL:
        return 0.0
    if period is Period.DAY:
        return number_of(period, at) * float(DAY_SECONDS)
    date = datetime.fromtimestamp(at, UTC)
    return datetime(date.year, date.month, 1, tzinfo=UTC).timestamp()


def end_of(period: Period, at: float) -> float | None:
    """When the next one begins; None of a TOTAL."""
    if period is Period.TOTAL:
        return None
    if period is Period.DAY:
        return start_of(period, at) + DAY_SECONDS
    date = datetime.fromtimestamp(at, UTC)
    return datetime(date.year + date.month // 12, date.month % 12 + 1, 1, tzinfo=UTC).timestamp()
