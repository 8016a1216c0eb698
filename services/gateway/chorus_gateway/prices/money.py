"""Money as people write it, "12.50", and as the whole numbers that are kept."""

import re

AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")


def parse_money(text: str, *, digits: int) -> int:
    """In units of 10**-digits. ValueError, in words that can be shown, for anything but plain decimals."""
    match = AMOUNT.fullmatch(text)
    if match is None or len(match[2] or "") > digits:
        raise ValueError(f"it must be a decimal with at most {digits} digits after the point, such as '12.50'")
    whole, part = match[1], match[2] or ""
    return int(whole + part.ljust(digits, "0"))


def money_text(units: int, *, digits: int) -> str:
    """Exact, with two digits after the point or as many as it takes."""
    whole, part = divmod(units, 10**digits)
    return f"{whole}.{str(part).zfill(digits).rstrip('0').ljust(2, '0')}"
