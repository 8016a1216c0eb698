"""Describe, FetchTokenizer, health, and who may call."""

import hashlib
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import torch
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from safetensors.torch import load_file

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.conftest import Served
from tests.contracts.engine.support.gateway import METADATA, open_channel

BAD_METADATA = [(), (("authorization", "Bearer wrong-token-of-no-service"),), (("authorization", METADATA[0][1][:-1]),)]


async def test_describe_says_what_is_served(engine_address: str) -> None:
    async with open_channel(engine_address) as stub:
        said = await stub.Describe(pb.DescribeRequest(), metadata=METADATA)
        again = await stub.Describe(pb.DescribeRequest(), metadata=METADATA)
    assert said == again
    assert (said.max_model_len, said.max_num_seqs, said.max_lora_rank) == (1024, 4, 64)
    assert (said.model.name, said.model.vocab_size, said.model.num_layers) == ("tiny", 211, 3)
    assert said.model.architecture == "LlamaForCausalLM"
    assert list(said.eos_token_ids) == [2]
    assert len(said.model.digest) == len(said.tokenizer_digest) == 64
    modules = {module.path: (module.in_features, module.out_features) for module in said.model.modules}
    assert modules["self_attn.k_proj"] == (64, 32)
    assert modules["mlp.down_proj"] == (112, 64)
    assert len(modules) == 7
    outer = {module.path: (module.in_features, module.out_features) for module in said.model.outer_modules}
    assert outer == {"embed_tokens": (211, 64), "lm_head": (64, 211)}


async def test_describe_tells_the_digests_of_matrices_that_adapters_may_bring(
    engine_address: str, checkpoint: Path
) -> None:
    async with open_channel(engine_address) as stub:
        model = (await stub.Describe(pb.DescribeRequest(), metadata=METADATA)).model
    assert not any(module.weight_sha256 for module in model.modules)
    weights = load_file(checkpoint / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    matrices = {"embed_tokens": embedding, "lm_head": weights.get("lm_head.weight", embedding)}
    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    for module in model.outer_modules:
        assert module.weight_sha256 == {
            name: hashlib.sha256(matrices[module.path].to(dtype).view(torch.uint8).numpy().tobytes()).hexdigest()
            for name, dtype in dtypes.items()
        }


async def test_the_tokenizer_comes_whole(engine_address: str) -> None:
    async with open_channel(engine_address) as stub:
        digest = (await stub.Describe(pb.DescribeRequest(), metadata=METADATA)).tokenizer_digest
        call = stub.FetchTokenizer(pb.FetchTokenizerRequest(digest=digest), metadata=METADATA)
        data = b"".join([chunk.data async for chunk in call])
    assert hashlib.sha256(data).hexdigest() == digest
    names = [file.name for file in pb.TokenizerBundle.FromString(data).files]
    assert names == ["chat_template.jinja", "generation_config.json", "tokenizer.json"]


async def test_another_tokenizer_is_not_found(engine_address: str) -> None:
    async with open_channel(engine_address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(stub.FetchTokenizer(pb.FetchTokenizerRequest(digest="0" * 64), metadata=METADATA)))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("metadata", BAD_METADATA)
async def test_calls_without_the_token_are_refused(engine_address: str, metadata: Any) -> None:
    async with open_channel(engine_address) as stub:
        for call in (
            stub.Describe(pb.DescribeRequest(), metadata=metadata),
            anext(aiter(stub.FetchTokenizer(pb.FetchTokenizerRequest(), metadata=metadata))),
            anext(aiter(stub.Session(metadata=metadata))),  # and not a frame sent
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "CHORUS_SERVICE_TOKEN" in str(caught.value.details())


async def test_health_needs_no_token(engine_address: str) -> None:
    async with grpc.aio.insecure_channel(engine_address) as channel:
        for service in ("", "chorus.engine.v1.Engine"):
            answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics_have_the_names_that_operators_know(served: Served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/metrics") as answer:
        text = answer.read().decode()
    for name in ("num_requests_running", "kv_cache_usage_perc", "gpu_utilization", "generation_tokens_total"):
        assert f"\n{name} " in text
    with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/healthz") as answer:
        assert answer.status == 200
