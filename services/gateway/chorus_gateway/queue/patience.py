"""Bands that wait are passed over for higher ones so many times and no more."""

from chorus_gateway.values import Band


class Patience:
    """Counts, not seconds: however slow the engines are, what a lower band may take from a higher one is the same share
    of what is dispatched. By base model."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._passed: dict[tuple[str, Band], int] = {}  # of bands that wait

    def waits(self, model: str, band: Band) -> None:
        self._passed.setdefault((model, band), 0)

    def emptied(self, model: str, band: Band) -> None:
        del self._passed[model, band]

    def dispatched(self, model: str, band: Band) -> None:
        """One of the band's jobs leaves for an engine."""
        for lower in Band:
            if lower > band and (model, lower) in self._passed:
                self._passed[model, lower] += 1
        self._passed[model, band] = 0

    def over(self, model: str, band: Band) -> bool:
        """Whether the band, which waits, goes first now."""
        return self._passed[model, band] >= self._most

    def check(self, waiting: set[tuple[str, Band]]) -> None:
        assert self._passed.keys() == waiting
        assert all(self._passed[model, Band.PRIORITY] == 0 for model, band in waiting if band is Band.PRIORITY)
