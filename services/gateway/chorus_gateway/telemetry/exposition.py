"""The body of /metrics: this process's, or that of all workers of this gateway, whichever of them is asked."""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from chorus_gateway.telemetry.metrics import Metrics

ANSWER_SECONDS = 1.0  # a worker that does not answer by then is left out
_SAMPLE = re.compile(rb"([A-Za-z_:][\w:]*)(\{?)")


class Exposition:
    """With several workers each tells its metrics on a socket in `folder`, and samples get the label `worker`: the
    counters of a worker that was started anew begin again by themselves, and rates stay true."""

    def __init__(self, metrics: Metrics, folder: Path | None = None, index: int = 0, count: int = 1) -> None:
        """`folder` is None where there is one worker only."""
        self._metrics = metrics
        self._folder = folder
        self._index = index
        self._count = count

    async def run(self) -> None:
        """Tells the others until it is cancelled."""
        if self._folder is None:
            return
        path = _path(self._folder, self._index)
        path.unlink(missing_ok=True)  # of the one that died
        server = await asyncio.start_unix_server(self._tell, path)
        async with server:
            await server.serve_forever()

    async def render(self) -> bytes:
        if self._folder is None:
            return self._metrics.render()
        others = [index for index in range(self._count) if index != self._index]
        bodies = await asyncio.gather(*(_ask(_path(self._folder, index)) for index in others))
        return joined({self._index: self._metrics.render(), **dict(zip(others, bodies, strict=True))})

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self._metrics.render())
            await writer.drain()
        writer.close()


def _path(folder: Path, index: int) -> Path:
    return folder / f"metrics-{index}"


async def _ask(path: Path) -> bytes:
    """Nothing from a worker that does not answer."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await reader.read()
            finally:
                writer.close()
    return b""


def joined(bodies: Mapping[int, bytes]) -> bytes:
    """Expositions of several workers as one: each metric once, with the samples of all."""
    heads: dict[bytes, bytes] = {}  # by HELP line: that and the TYPE line
    samples: dict[bytes, list[bytes]] = {}
    for index, body in sorted(bodies.items()):
        label = b'worker="%d"' % index
        metric = b""
        for line in body.splitlines():
            if line.startswith(b"# HELP "):
                metric = line
            elif line.startswith(b"#"):
                heads[metric] = metric + b"\n" + line
            elif line:
                samples.setdefault(metric, []).append(_labelled(line, label))
    return b"".join(b"\n".join([head, *samples.get(metric, [])]) + b"\n" for metric, head in heads.items())


def _labelled(line: bytes, label: bytes) -> bytes:
    name, brace = _SAMPLE.match(line).groups()  # type: ignore[union-attr]  # a sample begins with its name
    rest = line[len(name) + len(brace) :]
    return name + b"{" + label + (b"," if brace else b"}") + rest
