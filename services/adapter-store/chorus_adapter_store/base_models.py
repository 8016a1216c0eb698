"""Learns base models from the engines in the registry, so that uploads can be checked with no engine up."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_adapter_store.catalog import BaseCatalog
from chorus_adapter_store.errors import Unavailable
from chorus_adapter_store.outage import Outage
from chorus_adapter_store.values import BaseSpec, LinearModule
from chorus_proto.engine.v1 import engine_pb2, engine_pb2_grpc

_ENGINES = "chorus:engines"
_DESCRIBE_SECONDS = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredEngine:
    engine_id: str  # another one after each start
    address: str  # host:port
    model_digest: str


class EngineRegistry:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def engines(self) -> tuple[RegisteredEngine, ...]:
        """Engines that are alive. Raises RedisError or OSError."""
        found = []
        for engine_id in await self._redis.zrange(_ENGINES, 0, -1):
            address, digest = await self._redis.hmget(f"chorus:engine:{{{engine_id!s}}}", ["address", "model_digest"])
            if address and digest:  # the hash lapses when the heartbeat stops
                found.append(RegisteredEngine(str(engine_id), str(address), str(digest)))
        return tuple(found)


class Describer(Protocol):
    async def describe(self, address: str) -> BaseSpec:
        """Raises grpc.aio.AioRpcError when the engine does not answer."""
        ...


class GrpcDescriber:
    """TLS with `credentials`."""

    def __init__(self, token: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._credentials = credentials
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def describe(self, address: str) -> BaseSpec:
        async with self._connect(address) as channel:
            stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)  # type: ignore[assignment]  # the stubs' own way
            answer = await stub.Describe(
                engine_pb2.DescribeRequest(), metadata=self._metadata, timeout=_DESCRIBE_SECONDS
            )
        return _spec(answer.model)

    def _connect(self, address: str) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(address)
        return grpc.aio.secure_channel(address, self._credentials)


class BasePoller:
    """Saves a base when an engine begins to serve it: uploads for a name are checked against the last such.

    Every engine's own start counts: what it serves of a base, such as modules outside the layers, is a setting.
    """

    def __init__(
        self,
        registry: EngineRegistry,
        describer: Describer,
        bases: BaseCatalog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._describer = describer
        self._bases = bases
        self._clock = clock
        self._known: frozenset[RegisteredEngine] = frozenset()
        self._outages = {
            kind: Outage(what, _log)
            for kind, what in (
                ("redis", "Redis (engine registry)"),
                ("engine", "an engine"),
                ("catalog", "the catalog"),
            )
        }

    async def poll(self) -> None:
        """Whatever is away is tried again at the next poll."""
        try:
            engines = await self._registry.engines()
        except (RedisError, OSError) as error:
            self._outages["redis"].failed(error)
            return
        self._outages["redis"].worked()
        self._known &= frozenset(engines)
        for engine in engines:
            if engine not in self._known:
                await self._learn(engine)

    async def run(self, interval: float) -> None:
        while True:
            try:
                await self.poll()
            except Exception:
                _log.exception("learning base models failed; the next poll tries again")
            await asyncio.sleep(interval)

    async def _learn(self, engine: RegisteredEngine) -> None:
        try:
            base = await self._describer.describe(engine.address)
            await self._bases.save(base, self._clock())
        except grpc.aio.AioRpcError as error:
            self._outages["engine"].failed(OSError(f"{engine.address}: {error.code().name} {error.details()}"))
            return
        except Unavailable as error:
            self._outages["catalog"].failed(error)
            return
        self._outages["engine"].worked()
        self._outages["catalog"].worked()
        self._known |= {engine}
        _log.info("base model learned", extra={"model": base.name, "digest": base.digest})


def _spec(model: engine_pb2.ModelSpec) -> BaseSpec:
    return BaseSpec(
        name=model.name,
        digest=model.digest,
        architecture=model.architecture,
        dtype=model.dtype,
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        vocab_size=model.vocab_size,
        modules=_modules(model.modules),
        outer_modules=_modules(model.outer_modules),
    )


def _modules(modules: Iterable[engine_pb2.LinearModule]) -> tuple[LinearModule, ...]:
    return tuple(
        LinearModule(each.path, each.in_features, each.out_features, dict(each.weight_sha256)) for each in modules
    )
