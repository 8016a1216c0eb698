"""What was measured, what it should be at most or at least, and the file and the picture of all of it."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.commit import ROOT, commit

RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "transformers", "peft", "grpcio", "redis", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Figure:
    """`limit` None: said for who reads it, nothing is promised. `least`: the limit is a lower one."""

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    least: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    commit: str = ""  # that it was measured at

    @property
    def holds(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        text = f"{self.name}: {_short(self.value)}{unit}"
        if self.limit is not None:
            bound = "at least" if self.least else "at most"
            text += f" ({bound} {_short(self.limit)}{unit}: {'holds' if self.holds else 'MISSED'})"
        return text

    def to_json(self) -> dict[str, Any]:
        """A value that never came is null."""
        return {**asdict(self), "value": self.value if math.isfinite(self.value) else None, "holds": self.holds}

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> "Figure":
        known = {each.name: written[each.name] for each in fields(cls) if each.name in written}
        return cls(**known | {"value": math.nan if written["value"] is None else written["value"]})


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def write(figures: Sequence[Figure], seconds: float, folder: Path, name: str, *, whole: bool) -> None:
    """`name`.json and `name`.png. Unless the run was a whole one, figures that it lacks stay as they were."""
    folder.mkdir(parents=True, exist_ok=True)
    path, now = folder / f"{name}.json", commit()
    measured = {figure.name: replace(figure, commit=now) for figure in figures}
    before = {} if whole else _read(path)
    every = [*(before | measured).values()]
    report = {
        "commit": now,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seconds": round(seconds),
        "figures": [figure.to_json() for figure in every],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    plot(every, folder / f"{name}.png")


def _read(path: Path) -> dict[str, Figure]:
    """Those of earlier runs, by name."""
    if not path.exists():
        return {}
    report = json.loads(path.read_text())
    figures = (Figure.of_json({"commit": report["commit"], **written}) for written in report["figures"])
    return {figure.name: figure for figure in figures}


def plot(figures: Sequence[Figure], path: Path) -> None:
    """Each figure that has a limit as a share of it; those with a lower one the other way round."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bounded = [figure for figure in figures if figure.limit]
    shares = [_share(figure) for figure in bounded]
    drawn, axes = pyplot.subplots(figsize=(9, 1.2 + 0.34 * len(bounded)))
    axes.barh(range(len(bounded)), shares, 0.6, color=["C0" if figure.holds else "C3" for figure in bounded])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(bounded)), [figure.name for figure in bounded], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the limit (1 is the limit; less is better)")
    drawn.tight_layout()
    drawn.savefig(path, dpi=120)
    pyplot.close(drawn)


def _share(figure: Figure) -> float:
    """At most twice the limit: how far beyond is for the file to say."""
    assert figure.limit
    over, under = (figure.limit, figure.value) if figure.least else (figure.value, figure.limit)
    return min(over / under, 2.0) if under else 2.0
