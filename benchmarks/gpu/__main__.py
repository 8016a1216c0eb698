"""The engine on one card, row by row, through `Session` from another process.

usage: python -m benchmarks.gpu [--rows single,batch32] [--commit ID] [--results FOLDER]

Each row runs on an engine in a process of its own; rows of one engine share it. Results are merged into h200.json by
row, so that any row can be measured alone. The exit status is 1 when a row could not be measured; a row that misses its
aim is only said to.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.commit import ROOT, commit
from benchmarks.gpu import compared
from benchmarks.gpu.engines import ENGINES, EngineConfig
from benchmarks.gpu.floors import Limits, Sizes
from benchmarks.gpu.plot import plot
from benchmarks.gpu.results import Results
from benchmarks.gpu.row import Row
from benchmarks.gpu.server import EngineFailed
from benchmarks.gpu.specs import SPECS, Spec
from benchmarks.gpu.station import Setting, Station
from benchmarks.workloads import LLAMA_8B, SHAPES

KEPT = ROOT / "benchmarks" / "results"
LONGEST_START, LONGEST_ROW = 240.0, 150.0  # seconds
KERNELS = "kernels"  # the row that is no engine's


class Run:
    """Every row that was asked for, and what became of it."""

    def __init__(self, specs: Sequence[Spec], setting: Setting, results: Results) -> None:
        self._specs = [spec for spec in specs if not spec.needs_cuda or setting.device == "cuda"]
        self._setting = setting
        self._results = results
        self._began = time.perf_counter()
        self._with_aims = setting.shape is LLAMA_8B
        self._limits: Limits | None = None
        self._rows: list[Row] = []
        self.failed: list[str] = []

    async def all(self) -> None:
        for config in ENGINES:
            specs = [spec for spec in self._specs if spec.engine == config.name]
            if specs:
                await self._engine(config, specs)
        self._compare()

    async def _engine(self, config: EngineConfig, specs: Sequence[Spec]) -> None:
        """All its rows on one process; one that fails ends the process, and the next row gets another."""
        station: Station | None = None
        for spec in specs:
            try:
                async with asyncio.timeout(LONGEST_START):
                    station = station or await self._start(config)
            except (EngineFailed, TimeoutError) as error:
                self.failed += [f"{spec.name} on {config.name}" for spec in specs]
                self.say(f"engine {config.name} did not start: {error or f'not within {LONGEST_START:.0f} s'}")
                return
            try:
                async with asyncio.timeout(LONGEST_ROW):
                    self._put(await spec.run(station))
            except Exception:  # any failure of a row: the other rows are still worth measuring
                self.failed.append(f"{spec.name} on {config.name}")
                self.say(f"{spec.name} on {config.name} FAILED: {traceback.format_exc()}{station.server.last_words()}")
                await station.stop()
                station = None
        if station is not None:
            await station.stop()

    async def _start(self, config: EngineConfig) -> Station:
        station = Station(config, self._setting, self._limits)
        try:
            await station.start()
        except BaseException:  # a timeout's cancellation too: what was started must not keep the card
            await station.server.kill()
            raise
        ready = station.server.ready
        self.say(f"engine {config.name} served after {station.server.start_seconds:.1f} s, {ready.kv_blocks} KV blocks")
        if self._limits is None:
            self._limits = station.limits
            assert self._limits is not None
            self._results.say(device=ready.device, measured_limits=self._limits.to_json())
            self.say(f"limits: {self._limits.to_json()}")
        return station

    def _put(self, row: Row) -> None:
        self._rows.append(row)
        self._results.put(row, with_aims=self._with_aims)
        self.say(row.line(with_aims=self._with_aims))

    def _compare(self) -> None:
        sizes, limits, find = Sizes.of(self._setting.shape), self._limits, self._results.row
        for row in list(self._rows):
            if row.workload == "lora-idle":
                self._put(compared.lora_idle(row, find))
            elif row.workload == "ranks-mixed" and limits is not None:
                self._put(compared.ranks_mixed(row, find, sizes, limits))

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self._began:6.1f} s] {text}", flush=True)


def choose(names: str) -> list[Spec]:
    """Of ROWS, empty for all that are not there to be asked for. Raises SystemExit for a name that is no row's."""
    wanted = [name for name in names.split(",") if name]
    known = {spec.name for spec in SPECS} | {KERNELS}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"ROWS names {', '.join(unknown)}; rows are {', '.join(sorted(known))}.")
    return [spec for spec in SPECS if (spec.name in wanted if wanted else not spec.asked_for)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="rows to run, with commas between them (all)")
    parser.add_argument("--commit", default="", help="the commit that is measured, where there is no git (git's)")
    parser.add_argument("--results", default="", help="folder of h200.json and its plot (benchmarks/results)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", choices=sorted(SHAPES), default=LLAMA_8B.name, help="the model (llama-8b)")
    parser.add_argument("--repeats", type=int, default=None, help="runs of each row (2 or 3)")
    return parser.parse_args(arguments)


def main(arguments: argparse.Namespace) -> int:
    specs = choose(arguments.rows)
    folder = Path(arguments.results) if arguments.results else KEPT
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / "h200.json", arguments.commit or commit(), before=KEPT / "h200.json")
    with tempfile.TemporaryDirectory(prefix="chorus-bench-") as work:
        setting = Setting(SHAPES[arguments.shape], arguments.device, folder, Path(work), arguments.repeats)
        run = Run(specs, setting, results)
        uvloop.run(run.all())
    if not arguments.rows or KERNELS in arguments.rows.split(","):
        _kernels(run, results, arguments.device, arguments.shape)
    plot(results.values["rows"], folder / "h200.png")
    run.say(f"failed: {', '.join(run.failed)}" if run.failed else "done")
    return 1 if run.failed else 0


def _kernels(run: Run, results: Results, device: str, shape: str) -> None:
    """Another process, so that its memory is none of an engine's."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [
            sys.executable,
            "-m",
            "benchmarks.kernels",
            "--device",
            device,
            "--shape",
            shape,
            "--json",
            file.name,
        ]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            run.failed.append(KERNELS)
        else:
            results.say(kernels={"commit": results.values["commit"], **json.load(file)})
    run.say("kernels measured")


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
