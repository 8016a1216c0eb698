"""The secrets of a stack on one machine: made at its first start, kept in its folder."""

import secrets
from pathlib import Path

from chorus_gateway.auth import generate_key
from scripts.stack import envfile

TOKENS = ("CHORUS_SERVICE_TOKEN", "CHORUS_KEY_PEPPER", "CHORUS_NAMESPACE_SECRET", "CHORUS_REDIS_PASSWORD")


def ensure_secrets(state: Path) -> dict[str, str]:
    """By the setting that each is for. What is there stays: hashed keys depend on it."""
    path = state / "secrets"
    kept = envfile.read(path)
    made = {name: secrets.token_hex(24) for name in TOKENS}
    made["CHORUS_ADMIN_KEY"] = generate_key().text
    values = {**made, **kept}
    if values != kept:
        envfile.write(path, values)
    return values
