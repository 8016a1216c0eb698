"""What may be asked of the engine's host memory, beside what requests need."""

from collections.abc import Callable
from typing import Protocol

from chorus_engine.core.load import Hosted, HostMemory

Done = Callable[[str | None], None]  # None: it is done; else why not, in one sentence


class HostTier(Protocol):
    """All of it on the loop's thread (`EngineLoop.ask`). `done` is called there too, exactly once, perhaps at once."""

    def take_changed(self) -> set[str]:
        """Adapters of which `get` may say something else than when this was called last."""

    def get(self, digest: str) -> Hosted | None:
        """An adapter that is held or fetched."""

    def memory(self) -> HostMemory: ...

    def prefetch(self, digest: str, done: Done) -> None:
        """Have the adapter in host memory, if nothing more valuable must give way for it."""

    def pin(self, digest: str, done: Done) -> None:
        """Have it there and keep it, whatever else is wanted; refused beyond `HostMemory.pinnable`."""

    def unpin(self, digest: str) -> None:
        """It may be evicted again; a pin that waits for its fetch ends as refused. Without a pin nothing happens."""

    def drop(self, digest: str) -> bool:
        """Forget an adapter that nothing needs. False: a request or a copy needs it, or it is pinned or fetched."""
