from datetime import UTC, datetime
from decimal import Decimal

from chorus_client.accounts import Limits, Period, Price
from chorus_client.cli.board import LEVELS, bar, sparkline
from chorus_client.cli.cells import harmless, plain, size, text


def test_what_a_tenant_wrote_cannot_command_a_terminal() -> None:
    assert text("a\x1b[2Jb\r\n\u202ec") == "a�[2Jb���c"
    assert harmless("two\n\tlines\x1b]0;title\x07 ö") == "two\n\tlines�]0;title� ö"


def test_text() -> None:
    assert [text(value) for value in (None, "", (), True, ("a", 1), {"a": None}, Decimal("1E-7"), 0)] == [
        "-",
        "-",
        "-",
        "yes",
        "a, 1",
        "a=-",
        "0.0000001",
        "0",
    ]
    assert text(datetime(2026, 11, 21, 8, tzinfo=UTC)) == "2026-11-21 08:00:00Z"


def test_json() -> None:
    assert plain(Price("base", Decimal("0.15"), Decimal(0), Decimal("0.6"))) == {
        "model": "base",
        "input": "0.15",
        "cached": "0",
        "output": "0.6",
        "adapter": None,
    }
    assert plain(Limits(budget_period=Period.DAY))["budget_period"] == "day"
    assert plain(datetime(2026, 11, 21, tzinfo=UTC)) == "2026-11-21T00:00:00Z"


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1000, 12_345_678, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "12.3 MB",
        "5000.0 GB",
    ]


def test_bars_and_sparklines() -> None:
    assert sparkline([0, 1, 2]) == LEVELS[0] + LEVELS[4] + LEVELS[7]
    assert sparkline([0, 0]) == LEVELS[0] * 2
    assert sparkline([]) == ""
    assert bar(0, 0) == "-"
    assert bar(3, 6).endswith(" 50%")
    assert bar(9, 6).endswith("100%")
