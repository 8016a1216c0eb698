"""Tokens by tenant, for what is shown live. Prometheus never sees them: its labels must be bounded."""


class TenantTokens:
    """Counted as they come, taken by the one who reports them."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, tenant: str, tokens: int) -> None:
        self._counts[tenant] = self._counts.get(tenant, 0) + tokens

    def take(self) -> dict[str, int]:
        """Since it was last asked."""
        taken, self._counts = self._counts, {}
        return taken
