"""Values as text for people and as JSON for scripts."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

NOTHING = "-"


def text(value: object) -> str:
    """On one line. Whatever a tenant wrote cannot move the cursor or clear the screen."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return text(", ".join(f"{name}={text(each)}" for name, each in value.items()))
    if isinstance(value, tuple | list):
        return ", ".join(map(text, value))
    return harmless(str(value), keep="")


def harmless(written: str, *, keep: str = "\n\t") -> str:
    """Without control characters, such as those with which a terminal is told what to do."""
    return "".join(
        sign if sign in keep or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else "�"
        for sign in written
    )


def size(count: int) -> str:
    """Bytes, as people say them."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit returns")


def plain(value: Any) -> Any:
    """As `json` takes it: times in ISO 8601, money as strings."""
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value
