"""Adapters as a fleet, on this machine's CPU with real processes: what is promised of them, measured.

usage: python -m benchmarks.slots [--quick] [--only traffic,pacing,...] [--results FOLDER]

Parts: traffic (S-LoRA's trace over a thousand adapters on two engines, demand beside lru), fresh (publication to use,
a router's knowledge), flush (Redis loses all), claims (ten gateways, one cold adapter), pacing (tokens beside loads),
cold (first token of what no engine has), operations (a thousand random ones, with kills). What answers is judged by
transformers and PEFT in the same run. Writes slots.json and slots.png; the exit status is 1 when a figure does not
hold.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import RESULTS, write
from benchmarks.slots.bench import PARTS, Bench
from benchmarks.slots.plan import FULL, QUICK


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it runs")
    parser.add_argument("--only", default="", help=f"parts, with commas between them: {','.join(PARTS)} (all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for slots.json and slots.png")
    chosen = parser.parse_args(arguments)
    if unknown := set(filter(None, chosen.only.split(","))) - set(PARTS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    return chosen


def main(arguments: list[str]) -> int:
    chosen = parse(arguments)
    parts = frozenset(filter(None, chosen.only.split(","))) or frozenset(PARTS)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chorus-slots-") as work:
        bench = Bench(QUICK if chosen.quick else FULL, Path(work), parts)
        try:
            bench.run()
        finally:
            seconds, whole = time.perf_counter() - began, parts == frozenset(PARTS)
            write(bench.figures, seconds, chosen.results, "slots", whole=whole)
    missed = [figure for figure in bench.figures if figure.holds is False]
    print(f"{len(bench.figures)} figures in {time.perf_counter() - began:.0f} s; missed: {len(missed)}")
    for figure in missed:
        print(f"  {figure}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
