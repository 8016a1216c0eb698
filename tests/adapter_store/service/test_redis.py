"""What the store learns from Redis and tells through it; neither is ever needed by a request."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Never

import grpc
import numpy as np
import pytest

from chorus_adapter_store.values import BaseSpec
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from chorus_proto.engine.v1 import engine_pb2, engine_pb2_grpc
from tests.adapter_store.process import TOKEN, running
from tests.adapter_store.service.conftest import RedisServer
from tests.adapter_store.support import BASE, WHOLE_BASE, Upload, make_upload

METADATA = (("authorization", f"Bearer {TOKEN}"),)


def publish(address: str, upload: Upload, name: str = "tone") -> pb.PublishResponse:
    requests = [
        pb.PublishRequest(header=pb.PublishHeader(tenant="acme", name=name, model="demo")),
        pb.PublishRequest(chunk=pb.FileChunk(file="adapter_config.json", data=upload.config_bytes)),
        pb.PublishRequest(chunk=pb.FileChunk(file="adapter_model.safetensors", data=upload.weights_bytes)),
        pb.PublishRequest(commit=pb.Commit()),
    ]
    with grpc.insecure_channel(address) as channel:
        return adapters_pb2_grpc.AdapterStoreStub(channel).Publish(iter(requests), metadata=METADATA)


def eventually(check: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class DescribingEngine(engine_pb2_grpc.EngineServicer):
    """An engine that can say what it serves, and to whom it said so."""

    def __init__(self, base: BaseSpec) -> None:
        self.base = base
        self.callers: list[str] = []

    def Describe(
        self, request: engine_pb2.DescribeRequest, context: grpc.ServicerContext
    ) -> engine_pb2.DescribeResponse:
        self.callers += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        base = self.base
        modules, outer_modules = (
            [
                engine_pb2.LinearModule(
                    path=each.path,
                    in_features=each.in_features,
                    out_features=each.out_features,
                    weight_sha256=each.weight_sha256,
                )
                for each in some
            ]
            for some in (base.modules, base.outer_modules)
        )
        model = engine_pb2.ModelSpec(
            name=base.name,
            digest=base.digest,
            architecture=base.architecture,
            dtype=base.dtype,
            num_layers=base.num_layers,
            hidden_size=base.hidden_size,
            vocab_size=base.vocab_size,
            modules=modules,
            outer_modules=outer_modules,
        )
        return engine_pb2.DescribeResponse(engine_id="one", model=model)

    def FetchTokenizer(self, request: engine_pb2.FetchTokenizerRequest, context: grpc.ServicerContext) -> Never:
        raise AssertionError("the store asks an engine for nothing but Describe")

    def Session(self, request_iterator: object, context: grpc.ServicerContext) -> Never:
        raise AssertionError("the store asks an engine for nothing but Describe")

    def OrphanedUsage(self, request: engine_pb2.OrphanedUsageRequest, context: grpc.ServicerContext) -> Never:
        raise AssertionError("the store asks an engine for nothing but Describe")

    def AcknowledgeUsage(self, request: engine_pb2.AcknowledgeUsageRequest, context: grpc.ServicerContext) -> Never:
        raise AssertionError("the store asks an engine for nothing but Describe")


@pytest.fixture
def engine() -> Iterator[tuple[DescribingEngine, str]]:
    servicer = DescribingEngine(BASE)
    server = grpc.server(ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_base_is_learned_from_a_registered_engine_and_outlives_it(
    tmp_path: Path, redis_process: RedisServer, engine: tuple[DescribingEngine, str]
) -> None:
    servicer, address = engine
    with running(tmp_path, CHORUS_REDIS_URL=redis_process.url) as store:
        with pytest.raises(grpc.RpcError, match="no engine has served base 'demo' so far; known bases: none yet"):
            publish(store.address, make_upload())
        redis = redis_process.client()
        redis.zadd("chorus:engines", {"one": 1.0, "gone": 1.0})
        redis.hset("chorus:engine:{one}", mapping={"address": address, "model_digest": BASE.digest})
        eventually(lambda: "base model learned" in store.messages())
        assert publish(store.address, make_upload()).created
        assert servicer.callers == [f"Bearer {TOKEN}"]
    redis.flushall()
    with running(tmp_path, CHORUS_REDIS_URL=redis_process.url) as store:
        assert publish(store.address, make_upload(seed=1)).adapter.generation == 2


def test_a_base_is_learned_again_from_each_engine_that_begins_to_serve_it(
    tmp_path: Path, redis_process: RedisServer, engine: tuple[DescribingEngine, str]
) -> None:
    """One that was started anew may serve modules that the one before did not."""
    servicer, address = engine
    redis = redis_process.client()
    redis.zadd("chorus:engines", {"one": 1.0, "two": 2.0})
    redis.hset("chorus:engine:{one}", mapping={"address": address, "model_digest": BASE.digest})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["lm_head"]}
    names = (f"base_model.model.lm_head.lora_{side}.weight" for side in "AB")
    tensors = dict(zip(names, (np.ones((2, 32), np.float32), np.ones((128, 2), np.float32)), strict=True))
    with running(tmp_path, CHORUS_REDIS_URL=redis_process.url) as store:
        eventually(lambda: store.messages().count("base model learned") == 1)
        with pytest.raises(grpc.RpcError, match="served without LoRA on it"):
            publish(store.address, Upload(config, tensors))
        head = np.ones((128, 32), np.float32)
        told = {"F32": sha256(head.tobytes()).hexdigest()}
        servicer.base = replace(WHOLE_BASE, outer_modules=(replace(WHOLE_BASE.outer_modules[1], weight_sha256=told),))
        redis.hset("chorus:engine:{two}", mapping={"address": address, "model_digest": BASE.digest})
        eventually(lambda: store.messages().count("base model learned") == 2)
        tensors["base_model.model.lm_head.base_layer.weight"] = head  # the base's own, as the engine tells it
        assert list(publish(store.address, Upload(config, tensors)).adapter.modules) == ["lm_head"]


def test_changes_are_told_on_the_stream(tmp_path: Path, redis_process: RedisServer) -> None:
    with running(tmp_path, BASE, CHORUS_REDIS_URL=redis_process.url) as store:
        adapter = publish(store.address, make_upload()).adapter
        publish(store.address, make_upload())
        with grpc.insecure_channel(store.address) as channel:
            stub = adapters_pb2_grpc.AdapterStoreStub(channel)
            alias = pb.SetAliasRequest(tenant="acme", name="tone", alias="prod", generation=1)
            stub.SetAlias(alias, metadata=METADATA)
            stub.Delete(pb.DeleteRequest(tenant="acme", name="tone"), metadata=METADATA)
        events = [fields for _, fields in redis_process.client().xrange("chorus:adapters") or ()]
    common = {"tenant": "acme", "name": "tone", "generation": "1", "digest": adapter.digest, "model": "demo"}
    assert events == [
        {"event": "published", "alias": "", **common},
        {"event": "alias", "alias": "prod", **common},
        {"event": "deleted", "alias": "", **common},
    ]


def test_uploads_go_on_while_redis_is_away_and_the_log_says_so_once(tmp_path: Path, redis_process: RedisServer) -> None:
    with running(tmp_path, BASE, CHORUS_REDIS_URL=redis_process.url) as store:
        assert publish(store.address, make_upload(), "one").created
        redis_process.stop()
        for name in ("two", "three"):
            assert publish(store.address, make_upload(), name).created
        redis_process.start()
        eventually(
            lambda: (
                publish(store.address, make_upload(seed=int(time.monotonic() * 1000)), "four").created
                and "Redis (adapter events) is back" in store.messages()
            )
        )
        assert redis_process.client().xlen("chorus:adapters") >= 1
        away = [message for message in store.messages() if message.startswith("Redis (adapter events) is away")]
        assert len(away) == 1
