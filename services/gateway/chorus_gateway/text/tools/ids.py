"""Names of calls, by which their results refer to them."""

import hashlib
import re
import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
_SHORT = re.compile(r"[a-zA-Z0-9]{9}")


def call_id() -> str:
    return "call_" + secrets.token_hex(12)


def short_call_id() -> str:
    """Mistral's templates refuse others than nine letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(9))


def shortened(name: str) -> str:
    """One such for any id, always the same."""
    return name if _SHORT.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:9]
