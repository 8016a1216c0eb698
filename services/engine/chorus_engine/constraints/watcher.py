"""Who hears of what constraints cost."""

from typing import Protocol


class Watcher(Protocol):
    """Called on the thread that does it, each call by itself: must be quick and must not raise."""

    def compiled(self, seconds: float, *, ok: bool) -> None:
        """Or refused; the trial is part of the time."""

    def found(self) -> None:
        """A request's constraint was compiled already, or is being."""

    def evicted(self) -> None:
        """One that nobody leases made room."""

    def masked(self, seconds: float) -> None:
        """The masks of one step were computed."""


class Nobody:
    def compiled(self, seconds: float, *, ok: bool) -> None: ...
    def found(self) -> None: ...
    def evicted(self) -> None: ...
    def masked(self, seconds: float) -> None: ...


NOBODY = Nobody()
