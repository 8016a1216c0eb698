"""Text completions through the openai client, over real HTTP and real gRPC."""

import openai
import pytest
from openai import AsyncOpenAI

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, ids, tokenizer


async def test_a_whole_answer(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.completions.create(model="chorus-demo", prompt="hello")
    assert (answer.object, answer.id[:5]) == ("text_completion", "cmpl-")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("hello world", "stop")
    assert list(engine.submits[0].prompt_token_ids) == ids("hello")
    assert engine.submits[0].sampling.max_tokens == 16


async def test_a_streamed_answer(client: AsyncOpenAI) -> None:
    stream = await client.completions.create(
        model="chorus-demo", prompt="hello", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "hello world"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(ids("hello world")) + 1


async def test_several_prompts_with_several_answers(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply(
        [*submit.prompt_token_ids, *ids(f" {submit.sampling.seed}"), END], pause=0.001 * (submit.sampling.seed % 2)
    )
    answer = await client.completions.create(model="chorus-demo", prompt=["fox", "dog"], n=2, seed=1, max_tokens=30)
    assert [choice.text for choice in answer.choices] == ["fox 1", "fox 2", "dog 1", "dog 2"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(ids("fox")) + len(ids("dog"))


@pytest.mark.parametrize("wrap", [False, True])
async def test_a_prompt_of_token_ids(client: AsyncOpenAI, engine: FakeEngine, wrap: bool) -> None:
    tokens = ids("the lazy dog")
    await client.completions.create(model="chorus-demo", prompt=[tokens] if wrap else tokens)
    assert list(engine.submits[0].prompt_token_ids) == tokens


async def test_token_ids_beyond_the_vocabulary(client: AsyncOpenAI) -> None:
    size = tokenizer().get_vocab_size()
    with pytest.raises(openai.BadRequestError, match=f"token id {size} .* 0 to {size - 1}") as caught:
        await client.completions.create(model="chorus-demo", prompt=[1, size])
    assert caught.value.param == "prompt"


async def test_logprobs(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids("hello ☃"), END])
    answer = await client.completions.create(model="chorus-demo", prompt="hello", logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert logprobs.token_logprobs == [-0.5] * len(logprobs.tokens)
    text = answer.choices[0].text
    assert text == "hello ☃"
    assert logprobs.tokens[-3:] == ["bytes:\\xe2", "bytes:\\x98", "bytes:\\x83"]
    assert logprobs.text_offset[-3:] == [6, 6, 6]
    whole = zip(logprobs.tokens[:-3], logprobs.text_offset[:-3], strict=True)
    assert all(text[at:].startswith(token) for token, at in whole)


async def test_the_stop_string_is_kept_when_asked_for(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.completions.create(
        model="chorus-demo", prompt="hello", stop="o w", extra_body={"include_stop_str_in_output": True}
    )
    assert answer.choices[0].text == "hello w"
    answer = await client.completions.create(model="chorus-demo", prompt="hello", stop="o w")
    assert answer.choices[0].text == "hell"


async def test_special_tokens_are_shown_when_asked_for(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(
        model="chorus-demo", prompt="hello", extra_body={"skip_special_tokens": False}
    )
    assert answer.choices[0].text == "hello world<|end|>"
