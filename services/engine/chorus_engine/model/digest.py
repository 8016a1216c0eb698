"""The digest of a base model: which weights an adapter was made for."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def base_digest(config: Path, weights: Sequence[Path], cache: Path | None) -> str:
    """64 hex characters of SHA-256 over the file digests of config.json and of each weight file by name.

    Hashing gigabytes takes seconds: `cache` is a JSON file that keeps digests by path, size and modification time; None
    hashes anew. A cache that cannot be read or written costs time, never the start.
    """
    known = _read(cache)
    digests = {_key(path): known.get(_key(path)) or _hash(path) for path in (config, *weights)}
    if cache is not None and not digests.items() <= known.items():
        _write(cache, known | digests)
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()


def _key(path: Path) -> str:
    stat = path.stat()
    return f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"


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
