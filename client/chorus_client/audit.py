"""The audit log."""

from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.values import AuditEntry, AuditVerdict


class Audit:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, since: int = 0, limit: int = 100, actor: str = "") -> tuple[AuditEntry, ...]:
        """From entry `since` on, in order; those of one key alone where `actor` is its id."""
        query = {"since": str(since), "limit": str(limit)} | ({"actor": actor} if actor else {})
        return read_list(AuditEntry, self._transport.json("GET", path("audit"), params=query))

    def verify(self) -> AuditVerdict:
        """Reads the whole log again and its chain of hashes."""
        return read(AuditVerdict, self._transport.json("GET", path("audit", "verify")))
