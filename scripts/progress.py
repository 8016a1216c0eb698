"""Shows that something long is going on. Standard library only: it runs before anything is installed."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
QUIET_SECONDS = 2.0  # what is done sooner needs no words
LINE_SECONDS = 10.0  # between two lines where the output is no terminal


class Progress:
    """One line about one step; `note` is what it is at right now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.note = ""
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.title} … {self.seconds:.0f} s{note}"


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A spinner on a terminal, a line every ten seconds elsewhere; one closing line if it took over two seconds."""
    step, done = Progress(title), threading.Event()
    show = _spin if sys.stdout.isatty() else _say
    shower = threading.Thread(target=show, args=(step, done), daemon=True)
    shower.start()
    ok = False
    try:
        yield step
        ok = True
    finally:
        done.set()
        shower.join()
        if ok and step.seconds >= QUIET_SECONDS:
            print(f"{title}: done in {step.seconds:.0f} s", flush=True)


def _spin(step: Progress, done: threading.Event) -> None:
    turn = 0
    while not done.wait(0.1):
        if step.seconds >= QUIET_SECONDS:
            turn += 1
            sys.stdout.write(f"\r\033[K{FRAMES[turn % len(FRAMES)]} {str(step)[:110]}")
            sys.stdout.flush()
    if turn:
        sys.stdout.write("\r\033[K")
        sys.stdout.flush()


def _say(step: Progress, done: threading.Event) -> None:
    wait = QUIET_SECONDS
    while not done.wait(wait):
        print(step, flush=True)
        wait = LINE_SECONDS
