"""API keys: `chorus_<id>_<secret><checksum>`, all base62; only a keyed hash of the whole is stored."""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 12, 32, 6  # the secret is 190 bits
FORM = re.compile(
    rf"(chorus_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    text: str = field(repr=False)

    def fingerprint(self, pepper: bytes) -> bytes:
        """What is stored: HMAC-SHA256 of the whole key, 32 bytes."""
        return hmac.digest(pepper, self.text.encode(), hashlib.sha256)


def generate_key() -> ApiKey:
    key_id = _random(ID_LENGTH)
    body = f"chorus_{key_id}_{_random(SECRET_LENGTH)}"
    return ApiKey(id=key_id, text=body + checksum(body))


def parse_key(text: str) -> ApiKey | None:
    """None when no key that was ever given out can look like this; tells so without any look-up."""
    match = FORM.fullmatch(text)
    if not match or match[3] != checksum(match[1]):
        return None
    return ApiKey(id=match[2], text=text)


def checksum(body: str) -> str:
    """CRC-32 in base62, which finds typing errors and cut-off keys; it protects nothing."""
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
