"""The results as the tables of docs/performance.md.

usage: python -m benchmarks.gpu.table [benchmarks/results/h200.json]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.commit import ROOT
from benchmarks.gpu.plot import rate
from benchmarks.gpu.row import AIMS

Json = dict[str, Any]


def tables(results: Json) -> str:
    rows = results["rows"]
    parts = [throughput(rows), others(rows)]
    parts += [shares(row) for row in rows if "share_by_kernel" in row["measured"]]
    if "kernels" in results:
        parts.append(kernels(results["kernels"]["cases"]))
    return "\n\n".join(parts)


def throughput(rows: Sequence[Json]) -> str:
    """Rows that have an aim, in the order of the aims."""
    lines = [
        "| workload | adapters | tok/s | vLLM 0.24.0 | to reach | aim | step, ms | of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = {(row["workload"], row["adapters"]): row for row in rows}
    for key, aim in AIMS.items():
        if row := found.get(key):
            step = "" if row["step_ms"] is None else f"{row['step_ms']:.2f}"
            lines.append(
                f"| {key[0]} | {key[1]} | **{rate(row):,.0f}** | {aim.vllm:,.0f} | {aim.reach:,.0f} | {aim.aim:,.0f} | "
                f"{step} | {row['share_of_limit']:.0%} |"
            )
    return "\n".join(lines)


def others(rows: Sequence[Json]) -> str:
    lines = ["| row | adapters | measured | at most |", "| --- | --- | --- | --- |"]
    for row in rows:
        if (row["workload"], row["adapters"]) not in AIMS:
            plain = {name: value for name, value in row["measured"].items() if not isinstance(value, dict)}
            measured = ", ".join(f"{name} {value}" for name, value in plain.items())
            bounds = ", ".join(f"{name} {value}" for name, value in row["bounds"].items())
            lines.append(f"| {row['workload']} | {row['adapters']} | {measured} | {bounds} |")
    return "\n".join(lines)


def shares(row: Json) -> str:
    lines = [f"| {row['workload']}, {row['adapters']} adapters | share of the step |", "| --- | --- |"]
    lines += [f"| `{name}` | {share:.1%} |" for name, share in row["measured"]["share_by_kernel"].items()]
    return "\n".join(lines)


def kernels(cases: Sequence[Json]) -> str:
    lines = ["| kernel | case | µs | speed | of the limit |", "| --- | --- | --- | --- | --- |"]
    for case in cases:
        speed = f"{case['tflop_per_s']} TFLOP/s" if "tflop_per_s" in case else f"{case['gb_per_s']:,.0f} GB/s"
        lines.append(
            f"| {case['op']} | {case['case']} | {case['microseconds']} | {speed} | {case['share_of_limit']:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results" / "h200.json"
    print(tables(json.loads(path.read_text())))
