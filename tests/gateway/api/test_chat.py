"""Chat completions through the openai client, over real HTTP and real gRPC."""

import json

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, eventually
from tests.gateway.support.tokenizers import END, ids

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def test_a_whole_answer(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "hello world", "stop")
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model, answer.service_tier) == ("chat.completion", "chorus-demo", "default")
    prompt = ids("<|user|>hello<|end|><|assistant|>")
    assert list(engine.submits[0].prompt_token_ids) == prompt
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.usage.completion_tokens == len(ids("hello world")) + 1  # end-of-text is the client's too
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_canary_is_chosen_by_the_user_or_else_the_request(client: AsyncOpenAI, gateway: Gateway) -> None:
    for user in ("maria", "", openai.omit):
        await client.chat.completions.create(model="chorus-demo", messages=HELLO, user=user)
    await client.completions.create(model="chorus-demo", prompt="hello", user="maria")
    first, second, third, last = gateway.models.choosers
    assert (first, last) == ("maria", "maria")
    assert second != third
    assert second.startswith("req_")
    assert third.startswith("req_")


async def test_a_streamed_answer_has_role_then_text_then_reason_then_usage(url: str) -> None:
    body = {"model": "chorus-demo", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-ratelimit-limit-requests"] == "7"
    lines = response.text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    *deltas, last, usage = chunks
    assert deltas[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in deltas) == "hello world"
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_the_openai_client_reads_the_stream(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="chorus-demo", messages=HELLO, stream=True)
    texts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(texts) == "hello world"
    assert len([text for text in texts if text]) == len(ids("hello world"))  # one event a token


async def test_several_answers(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids(f"number {submit.sampling.seed}"), END])
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, n=3, seed=5)
    assert [choice.message.content for choice in answer.choices] == ["number 5", "number 6", "number 7"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(engine.submits[0].prompt_token_ids)


async def test_several_streamed_answers(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids(f"number {submit.sampling.seed}"), END], pause=0.001)
    stream = await client.chat.completions.create(model="chorus-demo", messages=HELLO, n=2, seed=5, stream=True)
    texts, roles, reasons = {0: "", 1: ""}, [], []
    async for chunk in stream:
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        roles += [choice.index] if choice.delta.role else []
        reasons += [choice.index] if choice.finish_reason else []
    assert texts == {0: "number 5", 1: "number 6"}
    assert sorted(roles) == sorted(reasons) == [0, 1]


async def test_a_stop_string_ends_the_answer_and_the_engines_work(
    client: AsyncOpenAI, engine: FakeEngine, gateway: Gateway
) -> None:
    tokens = ids("the quick brown fox jumps over the lazy dog")
    engine.replier = lambda submit: Reply(tokens, pause=0.002, hang=True)
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, stop=["own f", "nothing"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("the quick br", "stop")
    await gateway.settles()
    await eventually(lambda: [name for name, _ in engine.cancels] == [engine.submits[0].request_id])
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(ids("the quick brown fox"))
    assert gateway.quota.settled == [answer.usage.total_tokens]


async def test_length(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    assert engine.submits[0].sampling.max_tokens == 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1


async def test_without_a_maximum_the_context_is_the_limit(client: AsyncOpenAI, engine: FakeEngine) -> None:
    await client.chat.completions.create(model="chorus-demo", messages=HELLO)
    submit = engine.submits[0]
    assert len(submit.prompt_token_ids) + submit.sampling.max_tokens == engine.description.max_model_len


async def test_every_sampling_field_reaches_the_engine(client: AsyncOpenAI, engine: FakeEngine) -> None:
    await client.chat.completions.create(
        model="chorus-demo@shout",
        messages=HELLO,
        temperature=0.5,
        top_p=0.25,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"5": 2},
        seed=-1,
        max_tokens=20,
        service_tier="priority",
        extra_body={
            "top_k": 7,
            "min_p": 0.125,
            "repetition_penalty": 1.5,
            "min_tokens": 2,
            "ignore_eos": True,
            "stop_token_ids": [3],
            "speculation": 4,
            "a field of tomorrow": 1,
        },
    )
    submit = engine.submits[0]
    assert submit.adapter_digest == "a" * 64
    assert submit.band == pb.BAND_PRIORITY
    assert submit.tenant_tag == "acme"
    assert submit.sampling == pb.SamplingParams(
        max_tokens=20,
        min_tokens=2,
        temperature=0.5,
        top_k=7,
        top_p=0.25,
        min_p=0.125,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.5,
        logit_bias={5: 2.0},
        seed=2**64 - 1,
        stop_token_ids=[3],
        ignore_eos=True,
        speculation=4,
    )


async def test_logprobs_spell_the_content(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("héllo ☃"), END])
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    spelt = b"".join(bytes(entry.bytes or []) for entry in logprobs.content)
    assert spelt.decode() == answer.choices[0].message.content == "héllo ☃"
    assert all(entry.logprob == -0.5 and len(entry.top_logprobs) == 2 for entry in logprobs.content)


async def test_the_tier_that_was_used_is_told(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, service_tier="flex")
    assert answer.service_tier == "flex"
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, service_tier="auto")
    assert answer.service_tier == "default"


async def test_cached_tokens_are_reported(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([END], cached=3)
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3


async def test_cached_tokens_are_reported_where_a_stop_string_ends_the_answer(
    client: AsyncOpenAI, engine: FakeEngine
) -> None:
    engine.replier = lambda submit: Reply(ids("the quick brown fox"), cached=3, hang=True)
    answer = await client.chat.completions.create(model="chorus-demo", messages=HELLO, stop=["own f"])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (pb.ERROR_CODE_INVALID, openai.BadRequestError),
        (pb.ERROR_CODE_ADAPTER_NOT_FOUND, openai.NotFoundError),
        (pb.ERROR_CODE_ADAPTER_UNUSABLE, openai.NotFoundError),
        (pb.ERROR_CODE_INTERNAL, openai.InternalServerError),
    ],
)
async def test_an_engines_refusal_has_a_status(
    client: AsyncOpenAI, engine: FakeEngine, code: pb.ErrorCode, kind: type[openai.APIStatusError]
) -> None:
    engine.replier = lambda submit: Reply([], error=pb.Error(code=code, message="rank 128 is above 64"))
    for stream in (False, True):
        with pytest.raises(kind, match="rank 128 is above 64"):
            await client.chat.completions.create(model="chorus-demo@shout", messages=HELLO, stream=stream)


async def test_an_error_in_the_middle_is_an_event_and_no_reason_is_invented(url: str, engine: FakeEngine) -> None:
    error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="the device is gone")
    engine.replier = lambda submit: Reply(ids("hello"), error=error)
    body = {"model": "chorus-demo", "messages": HELLO, "stream": True}
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert response.status_code == 200
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2]) == {
        "error": {"message": "the device is gone", "type": "server_error", "param": None, "code": None}
    }
    assert all(json.loads(event)["choices"][0]["finish_reason"] is None for event in events[:-2])


async def test_the_openai_client_raises_the_error_in_the_middle(client: AsyncOpenAI, engine: FakeEngine) -> None:
    error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="the device is gone")
    engine.replier = lambda submit: Reply(ids("hello"), error=error)
    stream = await client.chat.completions.create(model="chorus-demo", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="the device is gone"):
        async for _ in stream:
            pass
