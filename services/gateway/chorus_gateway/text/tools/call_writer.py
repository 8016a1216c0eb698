"""The calls of one answer, numbered and named as clients are told of them."""

from collections.abc import Callable
from typing import Protocol

from chorus_gateway.tools import CallPiece


class Scanner(Protocol):
    """Reads one call in a model's way of writing them."""

    @property
    def name(self) -> str:
        """Empty until it is known."""
        ...

    @property
    def done(self) -> bool: ...

    @property
    def broken(self) -> bool:
        """It is no call."""
        ...

    def feed(self, text: str) -> str:
        """What follows the call, or what could not be read."""
        ...

    def take(self) -> str:
        """Arguments, as JSON, that came since the last time and since the name is known."""
        ...


class CallWriter:
    """One call at a time: `begin`, then `feed` until it is no longer `open`. `pieces` is what clients may be told."""

    def __init__(self, new_id: Callable[[], str], known: frozenset[str] | None = None) -> None:
        self.count = 0  # calls that clients were told of
        self.finished = 0  # of these, those that are whole
        self._new_id = new_id
        self._known = known  # a call of anything else is none
        self._scanner: Scanner | None = None
        self._told = False
        self._raw = ""
        self._pieces: list[CallPiece] = []

    @property
    def open(self) -> bool:
        return self._scanner is not None

    def begin(self, scanner: Scanner, *, raw: str = "") -> None:
        """`raw` is what was read of it already, and is text if it turns out to be no call."""
        self._scanner, self._told, self._raw = scanner, False, raw

    def feed(self, text: str, at: int) -> tuple[str, str]:
        """(text that turned out to be no call, what follows the call). `at`: CallPiece's."""
        scanner = self._scanner
        assert scanner is not None
        rest = scanner.feed(text)
        if not self._told:
            self._raw += text.removesuffix(rest) if rest else text
            known = self._known is None or not scanner.name or scanner.name in self._known
            if scanner.broken or not known:
                return self._give_up(), rest
        self._tell(scanner, at)
        if scanner.done:
            self.finished += 1
        if scanner.done or scanner.broken:
            self._scanner = None
        return "", rest

    def flush(self) -> str:
        """Text of a call that never came to its name. A call that clients were told of stays as far as it came."""
        if self._scanner is None or self._told:
            self._scanner = None
            return ""
        return self._give_up()

    def drain(self) -> tuple[CallPiece, ...]:
        pieces, self._pieces = tuple(self._pieces), []
        return pieces

    def _tell(self, scanner: Scanner, at: int) -> None:
        arguments = scanner.take()
        if scanner.name and not self._told:
            self._told = True
            self._pieces.append(CallPiece(self.count, arguments, self._new_id(), scanner.name, at))
            self.count += 1
        elif arguments:
            self._pieces.append(CallPiece(self.count - 1, arguments, at=at))

    def _give_up(self) -> str:
        raw, self._raw, self._scanner = self._raw, "", None
        return raw
