"""How much longer steps with drafts take than those without."""

LEARNS = 0.2  # weight of one step
MOST_GROWTH = 2.0  # of an estimate by one step: one that was held up says little
BASE, EACH = 1.1, 0.004  # guessed of a step with drafts while none was timed: a small batch waits for its weights
RETRY = 256  # steps without drafts after which one that did not pay is tried again


class StepTime:
    """By number of rows, and of tokens where there are drafts, in classes of powers of two."""

    def __init__(self) -> None:
        self._plain: dict[int, float] = {}  # seconds
        self._drafted: dict[tuple[int, int], float] = {}
        self._since = 0  # steps without drafts since the last one with

    def add(self, rows: int, drafted: int, seconds: float) -> None:
        if drafted:
            self._since = 0
            key = _class(rows), _class(rows + drafted)
            self._drafted[key] = _blend(self._drafted.get(key), seconds)
        else:
            self._since += 1
            self._plain[_class(rows)] = _blend(self._plain.get(_class(rows)), seconds)

    def retry(self) -> bool:
        return self._since >= RETRY

    def ratio(self, rows: int, drafted: int) -> float:
        """A step with drafts over one without."""
        plain = self._plain.get(_class(rows))
        timed = self._drafted.get((_class(rows), _class(rows + drafted)))
        if not plain or timed is None:
            return BASE + EACH * drafted
        return timed / plain


def _class(tokens: int) -> int:
    return tokens.bit_length()


def _blend(estimate: float | None, seconds: float) -> float:
    if estimate is None:
        return seconds
    return estimate + LEARNS * (min(seconds, MOST_GROWTH * estimate) - estimate)
