"""What open streams cost a gateway worker that has nothing to send on them, and what their clients' going leaves.

usage: python -m benchmarks.gateway.streams [STREAMS]
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway.stack import Door, front_door

STREAMS = 10_000
LIMIT_BYTES = 600 << 20
_AT_ONCE = 50  # that are being opened
_WARM = 100  # requests that come first, so that what is loaded and cached once does not count
_IDLE_SECONDS = 2.0
_PROBES = 50
_RETRY_SECONDS = 1.0
_HOUR = 3_600_000_000  # microseconds between two tokens; each stream has its own, as equal ones share their steps
_FREE_SECONDS = 60.0


def run(streams: int = STREAMS) -> dict[str, Any]:
    """A gateway, an engine that gives each stream one token and then nothing, and as many clients as streams."""
    with (
        tempfile.TemporaryDirectory(prefix="streams-") as folder,
        front_door(Path(folder), max_num_seqs=streams + 8) as door,
    ):
        return uvloop.run(_measure(door, streams))


async def _measure(door: Door, streams: int) -> dict[str, Any]:
    for _ in range(_WARM):
        await _ask(door)
    before = door.process.resident()
    began = time.monotonic()
    opened = _Opened(door)
    await asyncio.gather(*(opened.add(_HOUR + at) for at in range(streams)))
    seconds = time.monotonic() - began
    await asyncio.sleep(_IDLE_SECONDS)
    idle, cpu = door.process.resident(), door.process.cpu()
    assert await _gauge(door, "num_requests_running") == streams
    await asyncio.sleep(_IDLE_SECONDS)
    cpu = (door.process.cpu() - cpu) / _IDLE_SECONDS
    latency = sorted([await _ask(door) for _ in range(_PROBES)])[_PROBES // 2]
    left = time.monotonic()
    for writer in opened.writers:
        writer.transport.abort()
    freed = await _until(lambda: _gauge(door, "num_requests_running"), 0.0)
    await asyncio.sleep(1.0)
    return {
        "streams": streams,
        "resident_before_bytes": before,
        "resident_idle_bytes": idle,
        "bytes_a_stream": round((idle - before) / streams),
        "limit_bytes": LIMIT_BYTES,
        "opened_in_seconds": round(seconds, 2),
        "refused_while_opening": opened.refused,
        "idle_cpu_share": round(cpu, 3),
        "request_beside_p50_seconds": round(latency, 5),
        "freed_in_seconds": round(freed - left, 2),
        "resident_after_bytes": door.process.resident(),
    }


@dataclass
class _Opened:
    """Streams with their first token."""

    door: Door
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    refused: int = 0  # times, on a machine too busy for the gateway to hear Redis in time

    async def add(self, pause: int) -> None:
        async with self.gate:
            while (writer := await self._try(pause)) is None:
                self.refused += 1
                await asyncio.sleep(_RETRY_SECONDS)
            self.writers.append(writer)

    async def _try(self, pause: int) -> asyncio.StreamWriter | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.door.port, limit=1 << 12)
        writer.write(_request(self.door, stream=True, seed=pause, max_tokens=8))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 503 " in head:
            writer.close()
            return None
        assert b" 200 " in head, head
        await reader.readuntil(b"data: ")
        return writer


async def _ask(door: Door) -> float:
    """Seconds that a short answer takes."""
    while True:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(_request(door, max_tokens=1))
        head = await reader.readuntil(b"\r\n")
        writer.close()
        if b" 200 " in head:
            return time.monotonic() - began
        assert b" 503 " in head, head
        await asyncio.sleep(_RETRY_SECONDS)


def _request(door: Door, **fields: Any) -> bytes:
    body = json.dumps({"model": "chorus-demo", "prompt": "Once upon a time", "ignore_eos": True} | fields).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _gauge(door: Door, name: str) -> float:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        text = (await http.get(f"http://127.0.0.1:{door.port}/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


async def _until(reading: Callable[[], Any], wanted: float) -> float:
    """When it was so."""
    end = time.monotonic() + _FREE_SECONDS
    while await reading() != wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"{_FREE_SECONDS} s were not enough")
        await asyncio.sleep(0.05)
    return time.monotonic()


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS), indent=2))
