"""An engine in a process of its own, that serves `Session` and takes orders on its standard input.

usage: python -m benchmarks.gpu.engine_process '{"shape": "llama-8b", "device": "cuda", "config": {...}}'

Orders and answers are lines of JSON. It says {"ready": ...} once it serves and {"adapters": ...} once host memory holds
them; it ends when its standard input does. Orders: {"do": "limits"}, {"do": "run", "workload": ..., "seed": ...} (the
same workload without gRPC), {"do": "script", "acceptance": ...} (of drafts from now on; it says what became of those
before), {"do": "profile", "seconds": ..., "path": ...}.
"""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import uvloop

from benchmarks.gpu.composition import Engine
from benchmarks.gpu.engines import TOKEN, EngineConfig
from benchmarks.gpu.limits import measure_limits
from benchmarks.gpu.recording import Answer, Frame, Recording
from benchmarks.workloads import SHAPES, Item, Shape
from chorus_engine.core.request import Output, Request, SamplingParams
from chorus_engine.loop import News
from chorus_engine.rpc import (
    CreditLedger,
    Description,
    EngineService,
    Limits,
    SeatPlan,
    Seats,
    Sessions,
    TokenizerBundle,
    create_server,
)


class Host:
    """The engine, its sessions, and the orders. Made inside the event loop that it serves on."""

    def __init__(self, config: EngineConfig, shape: Shape, device: torch.device) -> None:
        self._shape = shape
        self._events = asyncio.get_running_loop()
        self._collector: Collector | None = None
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(dict(shape.config)))
            self.engine = Engine(config, Path(folder), device, self._publish, self._broken)
        capacity, spec = self.engine.capacity, self.engine.spec
        gate = self.engine.gate
        self._sessions = Sessions(
            gate or self.engine.loop,
            Limits(capacity.max_model_len, spec.vocab_size, spec.eos_token_ids),
            CreditLedger(Seats(SeatPlan.of(capacity.max_num_seqs))),
            finished=lambda request, output: gate.ended(request.id) if gate else None,
        )
        description = Description("benchmark", spec, capacity.max_model_len, capacity.max_num_seqs, config.max_rank)
        service = EngineService(description, TokenizerBundle(b"", hashlib.sha256(b"").hexdigest()), self._sessions)
        self._server, self._port = create_server(service, address="127.0.0.1:0", token=TOKEN)

    async def serve(self) -> None:
        self.engine.start()
        await self._server.start()
        device, capacity = self.engine.device, self.engine.capacity
        say(
            ready={
                "address": f"127.0.0.1:{self._port}",
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                "memory": self.engine.memory,
                "block_size": capacity.block_size,
                "kv_blocks": capacity.num_blocks,
                "max_num_batched_tokens": capacity.max_num_batched_tokens,
            }
        )
        seconds, self._digests = await asyncio.to_thread(self.engine.draw_adapters)
        say(adapters={"seconds": seconds, "digests": self._digests})
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(done=await asyncio.to_thread(self._obey, json.loads(line)))
        await self._server.stop(0)
        await self.engine.stop()

    def _obey(self, order: dict[str, Any]) -> Any:
        match order["do"]:
            case "limits":
                limits = measure_limits(self.engine.device)
                torch.cuda.empty_cache()
                return [limits.copy_bytes_per_s, limits.stream_bytes_per_s, limits.product_flops_per_s]
            case "run":
                return self._run(order)
            case "script":
                told = self.engine.script.to_json()
                self.engine.script.begin(order["acceptance"])
                return told
            case "profile":
                return profile(order["seconds"], order["path"])
        raise ValueError(f"no such order: {order['do']}")

    def _run(self, order: dict[str, Any]) -> dict[str, float | None]:
        """A workload straight into the loop, its tokens straight out of it."""
        work = self._shape.workload(order["workload"], order["adapters"])
        items = work.items(order["seed"], self._shape.vocab, self._digests)
        collector = Collector(items)
        self._collector = collector
        for request in collector.requests:
            self.engine.loop.submit(request)
        collector.done.wait()
        self._collector = None
        collector.recording.check()
        return {"seconds": collector.recording.seconds, "step": collector.recording.step_seconds()}

    def _publish(self, news: News) -> None:
        if self._collector is not None:
            self._collector.take(news.outputs)
        else:
            self._events.call_soon_threadsafe(self._sessions.deliver, news.outputs, news.load)

    def _broken(self) -> None:
        say(broken=True)


class Collector:
    """Takes the outputs of one run on the loop's thread."""

    def __init__(self, items: Sequence[Item]) -> None:
        now = time.perf_counter()
        self.requests = [_request(str(i), item) for i, item in enumerate(items)]
        self.recording = Recording([Answer(len(item.prompt), item.output, now) for item in items], now)
        self.done = threading.Event()
        self._left = len(items)

    def take(self, outputs: tuple[Output, ...]) -> None:
        now = time.perf_counter()
        for output in outputs:
            answer = self.recording.answers[int(output.request_id)]
            if output.tokens:
                answer.times.append(now)
                answer.counts.append(len(output.tokens))
            if output.finish is not None:
                answer.failure = str(output.error or "")
                self._left -= 1
        if most := max((len(output.tokens) for output in outputs), default=0):
            self.recording.frames.append(Frame(now, most))
        if not self._left:
            self.done.set()


def _request(request_id: str, item: Item) -> Request:
    sampling = SamplingParams(max_tokens=item.output, temperature=0.0)
    return Request(
        request_id, item.prompt, sampling, adapter=item.adapter, namespace=b"n" * 32, arrival=time.monotonic()
    )


def profile(seconds: float, path: str) -> str:
    """Trace what the device does for so long."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as tracer:
        time.sleep(seconds)
    tracer.export_chrome_trace(path)
    return path


def say(**news: Any) -> None:
    print(json.dumps(news), flush=True)


async def main(arguments: dict[str, Any]) -> None:
    device = torch.device(arguments["device"])
    if device.type == "cpu":
        torch.set_num_threads(1)
    elif not torch.cuda.is_available():
        raise SystemExit(
            "torch finds no CUDA device; run this on a machine with one, or with --device cpu --shape tiny."
        )
    await Host(EngineConfig.from_json(arguments["config"]), SHAPES[arguments["shape"]], device).serve()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
    os._exit(0)  # gigabytes of page-locked memory are given back faster by the kernel than one by one
