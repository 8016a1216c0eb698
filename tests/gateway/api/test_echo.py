"""The prompt in front of its completion, through the openai client."""

from openai import AsyncOpenAI

from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import END, ids


async def test_the_prompt_comes_in_front(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids(" dog"), END])
    answer = await client.completions.create(model="chorus-demo", prompt=["the lazy", "a fox"], echo=True)
    assert [choice.text for choice in answer.choices] == ["the lazy dog", "a fox dog"]
    assert answer.choices[0].logprobs is None
    assert not engine.submits[0].sampling.HasField("prompt_logprobs")


async def test_its_log_probabilities_come_too(client: AsyncOpenAI, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([*ids(" dog"), END])
    for prompt in ("the lazy", ids("the lazy")):
        answer = await client.completions.create(model="chorus-demo", prompt=prompt, echo=True, logprobs=1)
        choice = answer.choices[0]
        assert choice.text == "the lazy dog"
        logprobs = choice.logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert logprobs.token_logprobs is not None
        assert logprobs.top_logprobs is not None
        assert logprobs.text_offset is not None
        assert "".join(logprobs.tokens) == choice.text
        assert list(logprobs.token_logprobs) == [None, *[-0.5] * (len(logprobs.tokens) - 1)]
        assert [bool(top) for top in logprobs.top_logprobs] == [False, *[True] * (len(logprobs.tokens) - 1)]
        whole = zip(logprobs.tokens, logprobs.text_offset, strict=True)
        assert all(choice.text[at:].startswith(token) for token, at in whole)


async def test_a_prompt_is_scored_without_an_answer(client: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await client.completions.create(
        model="chorus-demo", prompt="the lazy dog", echo=True, logprobs=0, max_tokens=0
    )
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason) == ("the lazy dog", "length")
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs == [None, *[-0.5] * (len(ids("the lazy dog")) - 1)]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids("the lazy dog")), 0)
    silent = await client.completions.create(model="chorus-demo", prompt="the lazy dog", max_tokens=0)
    assert silent.choices[0].text == ""


async def test_a_stream_begins_with_it(client: AsyncOpenAI) -> None:
    stream = await client.completions.create(
        model="chorus-demo", prompt="dear ", echo=True, logprobs=0, stream=True, stop="wor"
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].text.startswith("dear ")
    assert "".join(chunk.choices[0].text for chunk in chunks) == "dear hello "


async def test_places_are_those_of_the_text_as_it_was_sent(client: AsyncOpenAI, engine: FakeEngine) -> None:
    """Whatever in it is a special token, and whether such tokens are shown."""
    engine.replier = lambda submit: Reply([*ids(" dog"), END])
    for shown in (True, False):
        answer = await client.completions.create(
            model="chorus-demo",
            prompt="the<|user|> lazy",
            echo=True,
            logprobs=0,
            extra_body={"skip_special_tokens": not shown},
        )
        choice = answer.choices[0]
        assert choice.text.startswith("the<|user|> lazy dog")
        assert choice.logprobs is not None
        whole = zip(choice.logprobs.tokens or (), choice.logprobs.text_offset or (), strict=True)
        assert all(choice.text[at:].startswith(token) for token, at in whole)
