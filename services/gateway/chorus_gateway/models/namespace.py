"""Under which name prefix-cache blocks may be shared."""

import hashlib
import hmac


def cache_namespace(secret: bytes, *, tenant: str, adapter: str | None, base: str) -> bytes:
    """HMAC-SHA256 over the tenant's id and the two digests, each after its length, so that no two triples look alike.
    32 bytes. One secret for all gateways: nobody outside can compute or choose a namespace."""
    fields = (tenant.encode(), (adapter or "").encode(), base.encode())
    message = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return hmac.digest(secret, message, hashlib.sha256)
