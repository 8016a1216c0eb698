"""The digest of a base model: which weights an adapter was made for."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Remembered:
    """A file whose digest was taken from the cache, by its name, size and time: it was not read."""

    path: Path
    key: str  # in the cache: path, size and modification time at the start
    digest: str  # 64 hex characters


@dataclass(frozen=True, slots=True)
class BaseDigest:
    value: str  # 64 hex characters
    remembered: tuple[Remembered, ...] = ()


def base_digest(config: Path, weights: Sequence[Path], cache: Path | None) -> BaseDigest:
    """SHA-256 over the file digests of config.json and of each weight file by name.

    Hashing gigabytes takes seconds: `cache` is a JSON file that keeps digests by path, size and modification time; None
    hashes anew. A cache that cannot be read or written costs time, never the start.
    """
    known = _read(cache)
    files = [(path, file_key(path)) for path in (config, *weights)]
    digests = {key: known.get(key) or _hash(path) for path, key in files}
    if cache is not None and not digests.items() <= known.items():
        _write(cache, known | digests)
    value = hashlib.sha256(b"".join(bytes.fromhex(digests[key]) for _, key in files)).hexdigest()
    return BaseDigest(value, tuple(Remembered(path, key, known[key]) for path, key in files if key in known))


def file_key(path: Path) -> str:
    """What tells a file from another without reading it. Raises OSError."""
    stat = path.stat()
    return f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"


def recall(cache: Path | None, keys: Iterable[str]) -> dict[str, str]:
    """Digests of parts of files, by keys that begin with the file's and a "#": those that the cache has."""
    known = _read(cache)
    return {key: known[key] for key in keys if key in known}


def remember(cache: Path, digests: Mapping[str, str]) -> None:
    _write(cache, _read(cache) | dict(digests))


def forget(cache: Path, key: str) -> None:
    """Takes a file's entries out of the cache: the next start reads the file."""
    known = _read(cache)
    kept = {other: digest for other, digest in known.items() if other != key and not other.startswith(f"{key}#")}
    if kept != known:
        _write(cache, kept)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(cache: Path | None) -> dict[str, str]:
    with suppress(OSError, ValueError):
        content = json.loads(cache.read_text(encoding="utf-8")) if cache is not None else {}
        if isinstance(content, dict):
            return {key: value for key, value in content.items() if isinstance(value, str) and len(value) == 64}
    return {}


def _write(cache: Path, digests: dict[str, str]) -> None:
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = cache.with_name(f"{cache.name}.{os.getpid()}")
        fresh.write_text(json.dumps(digests, indent=1), encoding="utf-8")
        fresh.replace(cache)
