"""The picture: each row's rate beside vLLM's, which is 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def plot(rows: Sequence[dict[str, Any]], path: Path) -> bool:
    """Of rows that vLLM ran too. False where there are none, or no matplotlib."""
    rows = [row for row in rows if row.get("vllm_tokens_per_s")]
    try:
        import matplotlib
    except ImportError:
        return False
    if not rows:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.55 * len(rows) + 1.6))
    mine = [rate(row) / row["vllm_tokens_per_s"] for row in rows]
    places = range(len(rows))
    bars = axes.barh([i - 0.2 for i in places], mine, 0.38, label="Chorus")
    axes.bar_label(bars, [f"{rate(row):,.0f}" for row in rows], padding=3)
    others = axes.barh([i + 0.2 for i in places], [1.0] * len(rows), 0.38, label="vLLM 0.24.0", color="0.75")
    axes.bar_label(others, [f"{row['vllm_tokens_per_s']:,.0f}" for row in rows], padding=3)
    least = [row["reach"] / row["vllm_tokens_per_s"] for row in rows]
    axes.plot(least, [i - 0.2 for i in places], "k|", markersize=14, label="to reach")
    axes.set_yticks(list(places), [label(row) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("tokens a second (labels), as a multiple of vLLM's; of the output, in prefill of the prompt")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def rate(row: dict[str, Any]) -> float:
    return float(row["prompt_tokens_per_s" if row["workload"] == "prefill" else "output_tokens_per_s"])


def label(row: dict[str, Any]) -> str:
    count = row["adapters"]
    return f"{row['workload']}\n{f'{count} adapter' + 's' * (count > 1) if count else 'no adapter'}"
