"""An adapter's two files, on their way to the gateway and back."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from chorus_client.errors import Damaged, Unreachable
from chorus_client.transport import Transport, why

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CHUNK_BYTES = 1 << 18
Progress = Callable[[int, int], None]  # bytes so far, bytes in all; an attempt that is made again begins at 0


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    config: Path
    weights: Path

    @classmethod
    def below(cls, folder: "str | os.PathLike[str]") -> "AdapterFiles":
        """As PEFT's `save_pretrained` names them."""
        return cls(Path(folder, CONFIG), Path(folder, WEIGHTS))


class Watched(io.FileIO):
    """A file that tells how far it was read."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._told(self.tell())
        return data


@contextmanager
def opened(files: AdapterFiles, progress: Progress | None) -> Iterator[dict[str, tuple[str, Watched]]]:
    """As httpx takes the parts of a form. OSError when a file cannot be read."""
    total = files.config.stat().st_size + files.weights.stat().st_size
    read = {CONFIG: 0, WEIGHTS: 0}

    def telling(file: str) -> Callable[[int], None]:
        def tell(position: int) -> None:
            read[file] = position
            if file == CONFIG:
                read[WEIGHTS] = 0  # it goes first: whatever was read of the other was for an earlier attempt
            if progress is not None:
                progress(sum(read.values()), total)

        return tell

    with ExitStack() as stack:
        config = stack.enter_context(Watched(files.config, telling(CONFIG)))
        weights = stack.enter_context(Watched(files.weights, telling(WEIGHTS)))
        yield {"adapter_config": (CONFIG, config), "adapter_model": (WEIGHTS, weights)}


def download(
    transport: Transport,
    routes: dict[str, str],
    digest: str,
    size: int,
    folder: Path,
    progress: Progress | None,
) -> AdapterFiles:
    """Both files into `folder`, put there only when they are what the digest says. `routes`: of each file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".chorus-", dir=folder) as staging:
        hashes, done = [], 0
        for file in (CONFIG, WEIGHTS):
            hashed = hashlib.sha256()
            with Path(staging, file).open("wb") as target:
                for data in _chunks(transport, routes[file]):
                    target.write(data)
                    hashed.update(data)
                    done += len(data)
                    if progress is not None:
                        progress(done, size)
            hashes.append(hashed.digest())
        found = hashlib.sha256(b"".join(hashes)).hexdigest()
        if found != digest:
            raise Damaged(f"The files hash to {found}, not to the adapter's digest {digest}; nothing was written.")
        for file in (CONFIG, WEIGHTS):
            Path(staging, file).replace(folder / file)
    return AdapterFiles.below(folder)


def _chunks(transport: Transport, route: str) -> Iterator[bytes]:
    with transport.stream("GET", route) as response:
        try:
            yield from response.iter_bytes(CHUNK_BYTES)
        except httpx.RemoteProtocolError as error:  # shorter than it said: the store found its copy damaged
            raise Damaged(f"{route} ended early; nothing was written.") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"The download of {route} broke off: {why(error)}.") from error
