"""The file that figures are kept in: rows of several runs, each with the commit that it was measured at."""

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.row import Row

PACKAGES = ("torch", "triton", "transformers", "grpcio", "numpy")

Json = dict[str, Any]


class Results:
    """Rows by workload and adapters; a new one takes an old one's place."""

    def __init__(self, path: Path, commit: str, before: Path | None = None) -> None:
        """Begins with what `path` holds, else with what `before` does."""
        found = next((each for each in (path, before) if each is not None and each.exists()), None)
        self.values: Json = json.loads(found.read_text()) if found else {"rows": []}
        self._path = path
        self._commit = commit
        self.values |= {"commit": commit, "versions": versions(PACKAGES)}

    def say(self, **facts: Any) -> None:
        """What holds for the whole file."""
        self.values |= facts
        self._write()

    def put(self, row: Row, *, with_aims: bool) -> None:
        values = {**row.to_json(with_aims=with_aims), "commit": self._commit}
        rows = [each for each in self.values["rows"] if _key(each) != row.key]
        self.values["rows"] = sorted([*rows, values], key=_key)
        self._write()

    def row(self, workload: str, adapters: int) -> Row | None:
        return next((Row.from_json(row) for row in self.values["rows"] if _key(row) == (workload, adapters)), None)

    def _write(self) -> None:
        head = ("commit", "versions", "device", "measured_limits")
        ordered = {name: self.values[name] for name in head if name in self.values} | self.values
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(ordered, indent=2) + "\n")


def versions(packages: Iterable[str]) -> Mapping[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _key(row: Json) -> tuple[str, int]:
    return row["workload"], row["adapters"]
