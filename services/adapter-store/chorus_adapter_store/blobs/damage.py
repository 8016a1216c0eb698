"""What is known to be missing or damaged, each told of once."""

import logging

from chorus_adapter_store.errors import DataLoss
from chorus_adapter_store.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class Damage:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sizes: dict[str, int] = {}

    def known(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256, size in bytes) of each."""
        return tuple(self._sizes.items())

    def found(self, sha256: str, size: int, loss: DataLoss) -> None:
        if sha256 not in self._sizes:
            _log.error("%s", loss, extra={"sha256": sha256})
        self._sizes[sha256] = size
        self._metrics.damaged.set(len(self._sizes))

    def mended(self, sha256: str) -> None:
        if self._sizes.pop(sha256, None) is not None:
            _log.info("a damaged blob is whole again, or nobody names it any more", extra={"sha256": sha256})
        self._metrics.damaged.set(len(self._sizes))
