"""Which of an alias's two generations a request gets."""

from hashlib import sha256


def in_canary(alias: tuple[str, str, str], tenant: str, chooser: str, percent: int) -> bool:
    """Whether the canary is chosen, for `percent` of all choosers.

    `alias` is (owner, adapter, alias); `chooser` is the user's name as the client gives it, else the request's id. Who
    was in the canary stays in it while its share grows.
    """
    parts = [part.encode("utf-8", "surrogatepass") for part in (*alias, tenant, chooser)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return int.from_bytes(sha256(message).digest()[:8], "big") * 100 < percent << 64
