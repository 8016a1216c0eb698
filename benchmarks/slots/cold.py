"""The first token of an adapter that no engine has, beside the time in which its bytes can be had and hashed."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import grpc

from benchmarks.figures import Figure
from benchmarks.slots.client import Client
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1.adapters_pb2_grpc import AdapterStoreStub

ALLOWANCE = 0.020  # seconds beside the transfer and a warm first token
PROMPT = tuple(range(40, 56))
WARM = 3  # further requests for each
PAUSE = 0.2  # seconds before each request, so that none meets what the one before left to do


@dataclass(frozen=True, slots=True)
class Cold:
    size: int  # bytes
    cold: float  # seconds to the first token
    warm: float


def throughput(address: str, token: str, digests: Sequence[str]) -> tuple[float, list[int]]:
    """Median bytes a second of `Fetch` with SHA-256 over what arrives, one after the other; the sizes."""
    metadata = (("authorization", f"Bearer {token}"),)
    rates, sizes = [], []
    with grpc.insecure_channel(address) as channel:
        stub: Any = AdapterStoreStub(channel)
        for digest in digests:
            began = time.perf_counter()
            size = _fetch(stub, digest, metadata)
            rates.append(size / (time.perf_counter() - began))
            sizes.append(size)
    return median(rates), sizes


def _fetch(stub: Any, digest: str, metadata: Sequence[tuple[str, str]]) -> int:
    size, hashes = 0, []
    for chunk in stub.Fetch(pb.FetchRequest(digest=digest), metadata=metadata):
        if chunk.WhichOneof("part") == "begin":
            hashes.append(hashlib.sha256())
        else:
            hashes[-1].update(chunk.data)
            size += len(chunk.data)
    assert hashlib.sha256(b"".join(each.digest() for each in hashes)).hexdigest() == digest
    return size


async def first_tokens(client: Client, models: Sequence[tuple[str, int]], note: Callable[[str], None]) -> list[Cold]:
    """One model after the other, each first cold and then warm. `models`: names and bytes."""
    found = []
    for number, (model, size) in enumerate(models, 1):
        note(f"{number} of {len(models)} adapters")
        cold = await _first_token(client, model)
        found.append(Cold(size, cold, median([await _first_token(client, model) for _ in range(WARM)])))
    return found


async def _first_token(client: Client, model: str) -> float:
    await asyncio.sleep(PAUSE)
    answer = await client.ask(model, PROMPT, 1)
    if answer.failure:
        raise RuntimeError(f"{model}: {answer.failure}")
    return answer.first_token


def figures(found: Sequence[Cold], rate: float) -> list[Figure]:
    """`rate`: bytes a second from the store, hashed."""
    warm = median(each.warm for each in found)
    allowed = [each.size / rate + ALLOWANCE + warm for each in found]
    within = sum(each.cold <= limit for each, limit in zip(found, allowed, strict=True))
    detail = {
        "adapters": len(found),
        "bytes": found[0].size,
        "within": within,
        "cold_ms": [round(each.cold * 1e3, 1) for each in found],
    }
    return [
        Figure("store to engine, hashed", rate / 1e6, "MB/s"),
        Figure("first token of a warm adapter", warm * 1e3, "ms"),
        Figure(
            "first token of a cold adapter",
            median(each.cold for each in found) * 1e3,
            "ms",
            median(allowed) * 1e3,
            detail=detail,
        ),
    ]
