"""Embeddings through the openai client, over real HTTP and real gRPC."""

import struct
from base64 import b64decode
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.fake_logprobs import embedding_of
from tests.gateway.support.gateway import KEY, Gateway, GatewaySettings, running_gateway
from tests.gateway.support.tokenizers import ids


def vector(tokens: list[int]) -> list[float]:
    return list(struct.unpack("<4f", embedding_of(tokens)))


async def test_each_input_has_its_vector_in_order(client: AsyncOpenAI, engine: FakeEngine) -> None:
    inputs = ["hello world", "the lazy dog", "hello"]
    answer = await client.embeddings.create(model="chorus-demo", input=inputs)
    assert [each.embedding for each in answer.data] == [vector(ids(text)) for text in inputs]
    assert [each.index for each in answer.data] == [0, 1, 2]
    tokens = sum(len(ids(text)) for text in inputs)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    assert {(submit.pooling, submit.sampling.max_tokens) for submit in engine.submits} == {(pb.POOLING_MEAN, 0)}


async def test_more_inputs_than_the_queue_has_places(engine: FakeEngine) -> None:
    inputs = [[1 + number % 300] for number in range(400)]
    async with running_gateway([engine], GatewaySettings(max_jobs=200)) as gateway:
        transport = httpx.ASGITransport(gateway.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as http:
            answer = await http.post("/v1/embeddings", json={"model": "chorus-demo", "input": inputs})
        assert answer.status_code == 200, answer.text
        assert [each["index"] for each in answer.json()["data"]] == list(range(400))
        assert [each["embedding"] for each in answer.json()["data"]] == [vector(tokens) for tokens in inputs]
        await gateway.settles()
        assert (gateway.quota.reserved, gateway.quota.settled) == ([400], [400])


async def test_token_ids_and_the_last_tokens_state(client: AsyncOpenAI, engine: FakeEngine) -> None:
    lists: list[Any] = [[5, 6, 7], [[5, 6], [7]]]
    for tokens, lengths in zip(lists, ([3], [2, 1]), strict=True):
        answer = await client.embeddings.create(model="chorus-demo", input=tokens, extra_body={"pooling": "last"})
        assert [round(3 * each.embedding[0] / each.embedding[2]) for each in answer.data] == lengths
    assert {submit.pooling for submit in engine.submits} == {pb.POOLING_LAST}


async def test_base64_and_floats_say_the_same(url: str) -> None:
    body = {"model": "chorus-demo", "input": "hello"}
    async with httpx.AsyncClient(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {KEY}"}) as http:
        plain = (await http.post("/embeddings", json=body)).json()
        packed = (await http.post("/embeddings", json=body | {"encoding_format": "base64"})).json()
    values = struct.unpack("<4f", b64decode(packed["data"][0]["embedding"]))
    assert list(values) == plain["data"][0]["embedding"]
    assert packed["object"] == "list"
    assert packed["data"][0]["object"] == "embedding"


async def test_fewer_dimensions_are_of_length_one_again(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="chorus-demo", input=[[4, 4, 4]], dimensions=2, user="me")
    assert answer.data[0].embedding == pytest.approx([0.6, 0.8])


async def test_inputs_are_billed_by_their_tokens(client: AsyncOpenAI, gateway: Gateway) -> None:
    await client.embeddings.create(model="chorus-demo", input=[[5, 6, 7], [8]])
    await gateway.settles()
    assert (gateway.quota.reserved, gateway.quota.settled) == ([4], [4])


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": []}, "input", "not empty"),
    ({"input": ""}, "input", "empty string"),
    ({"input": [5, "a"]}, "input", "input 0"),
    ({"input": ["a"] * 2049}, "input", "at most 2048"),
    ({"input": [[1] * 513]}, "input", "maximum context length is 512"),
    ({"input": [[1 << 20]]}, "input", "input: token id 1048576"),
    ({"encoding_format": "hex"}, "encoding_format", "float"),
    ({"dimensions": 0}, "dimensions", "greater than or equal to 1"),
    ({"dimensions": 5}, "dimensions", "5 is more than the 4"),
    ({"pooling": "max"}, "pooling", "mean"),
]


@pytest.mark.parametrize(("fields", "param", "reason"), BAD)
async def test_wrong_values_are_refused_by_name(
    client: AsyncOpenAI, fields: dict[str, Any], param: str, reason: str
) -> None:
    body = {"model": "chorus-demo", "input": "hello"} | fields
    with pytest.raises(openai.BadRequestError, match=reason) as caught:
        await client.post("/embeddings", body=body, cast_to=object)
    assert caught.value.param == param


async def test_a_prompt_of_the_whole_context_has_an_embedding(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="chorus-demo", input=[[1] * 512])
    assert answer.usage.prompt_tokens == 512
