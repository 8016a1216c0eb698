"""The audit log."""

from chorus_client.accounts import AuditEntry, AuditVerdict
from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path


class Audit:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, since: int = 1, limit: int = 100, actor: str = "") -> tuple[AuditEntry, ...]:
        """From entry `since` on, in order; those of one key alone where `actor` is its id."""
        query = {"since": str(since), "limit": str(limit)} | ({"actor": actor} if actor else {})
        return read_list(AuditEntry, self._transport.json("GET", path("audit"), params=query))

    def verify(self, *, head: str | None = None) -> AuditVerdict:
        """Reads the whole log again and its chain of hashes. `head`: an earlier verdict's, up to which nothing may be
        missing; without it nobody sees that the last entries were cut off."""
        query = {} if head is None else {"head": head}
        return read(AuditVerdict, self._transport.json("GET", path("audit", "verify"), params=query))
