"""Work beside the main stream, and marks that say when it is done. On CPU all is done at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is launched inside goes here, in no order with the main stream."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    @contextmanager
    def forked(self) -> Iterator[None]:
        """What is launched inside starts after all that the main stream has; `join` makes that wait in turn."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        with self.current():
            yield

    def join(self) -> None:
        """What the main stream launches from now on waits for all that is here."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)


class Mark:
    """A place in the current stream."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None
        if self._event is not None:
            self._event.record()

    def reached(self) -> bool:
        return self._event is None or bool(self._event.query())

    def wait(self) -> None:
        """Until the device has come here."""
        if self._event is not None:
            self._event.synchronize()
