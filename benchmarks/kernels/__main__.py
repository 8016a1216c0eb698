"""Each kernel's speed on the model's sizes, beside the card's as it is measured in the same run.

usage: python -m benchmarks.kernels [--only lora_delta,linear] [--json FILE]

Inputs are random, and weights change from call to call, so that the card's cache does not serve them. Calls are timed
as replays of a captured graph. What moves few bytes is bound by latency, and far from the limit by nature.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.floors import Limits
from benchmarks.gpu.limits import measure_limits
from benchmarks.kernels import adapters, attention, elementwise, products
from benchmarks.kernels.case import Case, World
from benchmarks.kernels.timing import seconds_a_call
from benchmarks.workloads import LLAMA_8B, SHAPES

OPS = {
    "add_rms_norm": elementwise, "silu_mul": elementwise, "rotary_store": elementwise, "draw": elementwise,
    "linear": products, "paged_attention": attention, "lora_delta": adapters,
}  # fmt: skip


@torch.no_grad()
def main(arguments: argparse.Namespace) -> None:
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    limits = measure_limits(device)
    print(f"limits: {limits.to_json()}", flush=True)
    found = []
    for case in all_cases(World.of(SHAPES[arguments.shape], device), arguments.only):
        result = measure(case, limits, device)
        found.append(result)
        print(line(result), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"measured_limits": limits.to_json(), "cases": found}))


def all_cases(world: World, only: str) -> Iterator[Case]:
    wanted = [name for name in only.split(",") if name] or list(OPS)
    if unknown := [name for name in wanted if name not in OPS]:
        raise SystemExit(f"--only names {', '.join(unknown)}; kernels are {', '.join(OPS)}.")
    for module in dict.fromkeys(OPS[name] for name in wanted):
        yield from (case for case in module.cases(world) if case.op in wanted)


def measure(case: Case, limits: Limits, device: torch.device) -> dict[str, Any]:
    seconds = seconds_a_call(case.calls, device)
    result: dict[str, Any] = {"op": case.op, "case": case.what, "microseconds": round(seconds * 1e6, 2)}
    if case.flops:
        speed, limit = case.flops / seconds, limits.product_flops_per_s
        result |= {"tflop_per_s": round(speed / 1e12, 1), "limit_tflop_per_s": round(limit / 1e12, 1)}
    else:
        speed, limit = case.bytes / seconds, limits.copy_bytes_per_s
        result |= {"gb_per_s": round(speed / 1e9, 1), "limit_gb_per_s": round(limit / 1e9, 1)}
    return {**result, "share_of_limit": round(speed / limit, 3)}


def line(result: dict[str, Any]) -> str:
    unit, name = ("TFLOP/s", "tflop_per_s") if "tflop_per_s" in result else ("GB/s", "gb_per_s")
    speeds = f"{result[name]:9,.1f} of {result[f'limit_{name}']:9,.1f} {unit:7} ({result['share_of_limit']:.0%})"
    return f"{result['op']:16} {result['case']:40} {result['microseconds']:10,.1f} µs {speeds}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"kernels, with commas between them: {', '.join(OPS)} (all)")
    parser.add_argument("--json", default="", help="a file for the figures")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", choices=sorted(SHAPES), default=LLAMA_8B.name, help="the model (llama-8b)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
