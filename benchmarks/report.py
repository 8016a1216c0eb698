"""What a run of the engine's benchmark leaves behind: lines, a JSON file and a picture."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.commit import ROOT, commit

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One workload on both sides; rates are output tokens a second over the whole workload, prompts included."""

    workload: str
    requests: int
    output_tokens: int
    adapters: int
    chorus_tokens_per_s: float
    reference: str
    reference_tokens_per_s: float
    ratio: float
    cpu_time_ratio: float  # of the peer's processor seconds to ours
    aim: float
    sequences_equal: int

    def __str__(self) -> str:
        verdict = "reached" if self.ratio >= self.aim else "MISSED"
        return (
            f"{self.workload:16} chorus {self.chorus_tokens_per_s:8.1f} tok/s   {self.reference} "
            f"{self.reference_tokens_per_s:8.1f} tok/s   {self.ratio:5.2f}x (aim {self.aim}x {verdict}; "
            f"{self.cpu_time_ratio:.2f}x in CPU time)   {self.sequences_equal}/{self.requests} sequences equal"
        )


def write(rows: Sequence[Row], threads: int, repeats: int) -> None:
    for row in rows:
        print(row)
    print(f"threads of torch: {threads} on both sides")
    RESULTS.mkdir(exist_ok=True)
    report = {
        "commit": commit(),
        "machine": f"{platform.machine()}, torch on {threads} thread(s) on both sides",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "repeats": repeats,
        "rows": [asdict(row) for row in rows],
    }
    (RESULTS / "cpu.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(rows, RESULTS / "cpu.png")


def plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.6))
    for offset, label, values in (
        (-0.2, "Chorus", [row.chorus_tokens_per_s for row in rows]),
        (0.2, "transformers / PEFT", [row.reference_tokens_per_s for row in rows]),
    ):
        bars = axes.barh([i + offset for i in range(len(rows))], values, 0.38, label=label)
        axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_yticks(range(len(rows)), [f"{row.workload}\n{row.ratio:.1f}x (aim {row.aim}x)" for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("output tokens a second on CPU, 32 requests at once")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
