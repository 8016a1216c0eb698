"""Engines that fail get nothing for a while, as long as others serve the same base model."""

import logging
from collections.abc import Callable, Sequence

from prometheus_client import Counter

from chorus_gateway.routing.member import Member

log = logging.getLogger(__name__)


class Ejector:
    """Judges engines by what became of requests there. Each gateway process judges for itself."""

    def __init__(
        self,
        peers: Callable[[str], Sequence[Member]],
        changed: Callable[[Member], None],
        ejections: Counter | None = None,
    ) -> None:
        """`peers` are the connected engines of a base model (digest). `changed` hears of an engine that takes requests
        no more, or again."""
        self._peers = peers
        self._changed = changed
        self._ejections = ejections

    def answered(self, member: Member, trial: bool) -> None:
        """A request had its first token there."""
        if member.health.answered(trial):
            log.info("engine is back", extra={"engine": member.id, "address": member.client.address})
            self._changed(member)

    def failed(self, member: Member, trial: bool) -> None:
        """A request ended there by the engine's fault."""
        if member.health.failed(trial) and self._spared(member):
            seconds = member.health.eject()
            if self._ejections is not None:
                self._ejections.inc()
            address = member.client.address
            log.warning("engine ejected", extra={"engine": member.id, "address": address, "seconds": seconds})
            self._changed(member)

    def _spared(self, member: Member) -> bool:
        """Whether its base model can do without it."""
        peers = self._peers(member.description.base.digest)
        return any(peer.takes and not peer.health.ejected for peer in peers if peer is not member)
