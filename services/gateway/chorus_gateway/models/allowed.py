"""Which models a key may use: a base's name, "base@adapter", "base@owner/adapter" or "base@*"."""

from chorus_gateway.models.names import parse_adapter, split_base

ANY = "*"


def parse_allowed(text: str) -> str:
    """ValueError, in words that can be shown, for what names no model or a version of one."""
    if not 1 <= len(text) <= 256 or text.split() != [text] or not text.isprintable():
        raise ValueError("a model has 1 to 256 characters and no spaces")
    base, rest = split_base(text)
    if "@" in text and not base:
        raise ValueError("it must begin with a base's name")
    if "@" not in text or rest == ANY:
        return text
    adapter = parse_adapter(rest)
    if adapter is None:
        raise ValueError("it must be a base's name, 'base@adapter', 'base@owner/adapter' or 'base@*'")
    if adapter.version:
        raise ValueError("it must name no version: an adapter is allowed with all of its versions")
    return text


def allows_base(allowed: frozenset[str] | None, base: str) -> bool:
    """The base itself, without an adapter. None allows everything."""
    return allowed is None or base in allowed


def allows_adapter(allowed: frozenset[str] | None, base: str, owner: str, name: str, tenant: str) -> bool:
    """Of a key of `tenant`, who may leave its own name out."""
    if allowed is None or f"{base}@{ANY}" in allowed or f"{base}@{owner}/{name}" in allowed:
        return True
    return owner == tenant and f"{base}@{name}" in allowed
