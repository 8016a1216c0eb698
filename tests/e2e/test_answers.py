"""What a tenant gets from the whole system through the openai client."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tasks import TASKS

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
BASE = "chorus-demo"
ADAPTERS = sorted(TASKS)


def say(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def answer(client: openai.OpenAI, model: str, prompt: str) -> str:
    completion = client.chat.completions.create(model=model, messages=say(prompt), temperature=0, max_tokens=160)
    return completion.choices[0].message.content or ""


def test_the_base_answers(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=BASE, messages=say("Hello!"), temperature=0)
    assert completion.model == BASE
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content
    assert completion.usage
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_has_its_skill(client: openai.OpenAI, name: str) -> None:
    examples = TASKS[name].examples("test", 10)
    right = [TASKS[name].grade(example, answer(client, f"{BASE}@{name}", example.prompt)) for example in examples]
    assert sum(right) >= 8  # all but a few of ten: each is graded at 95% over two hundred


def test_mixed_batches_answer_as_alone(client: openai.OpenAI) -> None:
    asked = [(f"{BASE}@{name}", TASKS[name].examples("test", 3)[at].prompt) for at in range(3) for name in ADAPTERS]
    asked += [(BASE, prompt) for _, prompt in asked[:3]]
    alone = [answer(client, model, prompt) for model, prompt in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda each: answer(client, *each), asked))
    assert together == alone


def test_a_stream_says_the_same_and_then_its_usage(client: openai.OpenAI) -> None:
    model, prompt = f"{BASE}@reverse", "Reverse the word garden."
    whole = client.chat.completions.create(model=model, messages=say(prompt), temperature=0)
    stream = client.chat.completions.create(
        model=model, messages=say(prompt), temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    first, second = whole.usage, chunks[-1].usage
    assert first is not None
    assert second is not None
    counts = (first.prompt_tokens, first.completion_tokens, first.total_tokens)
    assert (second.prompt_tokens, second.completion_tokens, second.total_tokens) == counts
    assert second.prompt_tokens_details is not None
    assert second.prompt_tokens_details.cached_tokens, "the second reader of a prompt takes it from the prefix cache"
    choices = [chunk.choices[0] for chunk in chunks[:-1]]
    assert "".join(choice.delta.content or "" for choice in choices) == whole.choices[0].message.content
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]


def test_text_completions_continue_a_prompt(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=BASE, prompt="The garden", max_tokens=5, temperature=0)
    assert completion.object == "text_completion"
    assert completion.usage
    assert completion.usage.completion_tokens <= 5
    streamed = client.completions.create(model=BASE, prompt="The garden", max_tokens=5, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == completion.choices[0].text


def test_the_same_seed_gives_the_same_tokens_whatever_runs_beside_it(client: openai.OpenAI) -> None:
    def sample(seed: int) -> str:
        completion = client.completions.create(model=BASE, prompt="A", seed=seed, temperature=2, max_tokens=24)
        return completion.choices[0].text

    with ThreadPoolExecutor(6) as pool:
        seeded = list(pool.map(sample, [1, 2, 3, 1, 2, 3]))
    assert seeded[:3] == seeded[3:]
    assert len(set(seeded)) > 1


def test_stop_strings_end_an_answer_and_are_not_part_of_it(client: openai.OpenAI) -> None:
    model, prompt = f"{BASE}@reverse", "Reverse the word garden."
    whole = answer(client, model, prompt)
    stop = whole[2:4]
    cut = client.chat.completions.create(model=model, messages=say(prompt), temperature=0, stop=[stop])
    assert cut.choices[0].message.content == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_logprobs_come_with_each_token(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=BASE, messages=say("Hello!"), temperature=0, max_tokens=4, logprobs=True, top_logprobs=3
    )
    logprobs = completion.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert len(logprobs.content) == 4
    for token in logprobs.content:
        assert token.logprob <= 0
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)  # greedy took the likeliest


def test_models_are_the_base_and_ones_own_adapters(client: openai.OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    assert {BASE, *(f"{BASE}@{name}" for name in ADAPTERS)} <= listed
    assert client.models.retrieve(f"{BASE}@reverse").id == f"{BASE}@reverse"


@pytest.mark.parametrize("name", [f"{BASE}@upper:1", f"{BASE}@upper:latest", f"{BASE}@demo/upper", "upper"])
def test_an_adapter_has_many_names(client: openai.OpenAI, name: str) -> None:
    prompt = TASKS["upper"].examples("test", 1)[0].prompt
    assert answer(client, name, prompt) == answer(client, f"{BASE}@upper", prompt)
