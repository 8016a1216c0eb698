"""The front door, on this machine's CPU with real processes: what one gateway worker can do and what it adds.

usage: python -m benchmarks.gateway [--quick] [--only requests,streams,...] [--soak SECONDS] [--results FOLDER]

Parts: references (the stub engine and its HTTP face alone), requests (whole answers: requests a second, and latency at
70% of that, beside the stub alone and LiteLLM's proxy), streams (tokens a second, an event each), memory (mixed load),
idle (streams that stand open), quota (what is left of requests that end in every way), fairness (shares and first
tokens over two gateways of two workers each). Writes gateway.json and gateway.png, where figures of parts that did not
run stay as they were; the exit status is 1 when a figure does not hold.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import RESULTS, write
from benchmarks.gateway import litellm
from benchmarks.gateway.bench import PARTS, Bench
from benchmarks.gateway.native import NoCompiler
from benchmarks.gateway.plan import FULL, QUICK


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it runs")
    parser.add_argument("--only", default="", help=f"parts, with commas between them: {','.join(PARTS)} (all)")
    parser.add_argument(
        "--soak", type=float, default=0.0, help="seconds of mixed load for the memory part, such as 3600"
    )
    parser.add_argument("--litellm", default="", help=f"the command litellm ({litellm.FOLDER}/bin or the PATH)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for gateway.json and gateway.png")
    chosen = parser.parse_args(arguments)
    if unknown := set(filter(None, chosen.only.split(","))) - set(PARTS):
        parser.error(f"--only names {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    if chosen.litellm and not Path(chosen.litellm).is_file():
        parser.error(f"--litellm is {chosen.litellm}, and there is no such file")
    return chosen


def main(arguments: list[str]) -> int:
    chosen = parse(arguments)
    parts = frozenset(filter(None, chosen.only.split(","))) or frozenset(PARTS)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chorus-gateway-") as work:
        plan = QUICK if chosen.quick else FULL
        bench = Bench(plan, Path(work), parts, litellm.find(chosen.litellm), chosen.soak)
        try:
            bench.run()
        except NoCompiler as error:
            print(f"bench-gateway: {error}")
            return 2
        finally:
            if bench.figures:
                seconds, whole = time.perf_counter() - began, parts == frozenset(PARTS)
                write(bench.figures, seconds, chosen.results, "gateway", whole=whole)
    missed = [figure for figure in bench.figures if figure.holds is False]
    print(f"{len(bench.figures)} figures in {time.perf_counter() - began:.0f} s; missed: {len(missed)}")
    for figure in missed:
        print(f"  {figure}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
