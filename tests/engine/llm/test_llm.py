"""The engine without services, beside transformers + PEFT."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from chorus_engine.llm import (
    LLM,
    AdapterUnusable,
    BeamParams,
    Constraint,
    ConstraintKind,
    ConstraintRefused,
    InvalidRequest,
    Pooling,
    Sampling,
    StartError,
)
from chorus_engine.runner import RunnerSettings
from tests.engine.oracle.support.checkpoints import ALL, AdapterShape
from tests.engine.oracle.support.truth import Answer, check
from tests.engine.oracle.support.world import World, make_world

SETTINGS = RunnerSettings(max_num_seqs=4, max_num_batched_tokens=64, max_adapters=1, num_kv_blocks=80)
GREEDY = Sampling(max_tokens=12, temperature=0, ignore_eos=True)
PROMPTS = [(5, 6, 7), tuple(range(8, 100)), (9,), (10, 11), (12, 13, 14), (15,) * 40]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)
    adapters = {"one": AdapterShape(8, ALL), "two": AdapterShape(20, ["q_proj", "down_proj"])}
    world = make_world("llama", tmp_path_factory.mktemp("llm"), adapters)
    words = Tokenizer(models.BPE(vocab={chr(at): at - 33 for at in range(33, 127)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    words.save(str(world.folder / "tokenizer.json"))
    return world


@pytest.fixture(scope="module")
def llm(world: World) -> LLM:
    return LLM(world.folder, world.adapters, device="cpu", settings=SETTINGS)


@pytest.fixture(scope="module")
def guessing(world: World) -> LLM:
    return LLM(world.folder, world.adapters, device="cpu", settings=SETTINGS, draft=world.folder)


def test_answers_are_the_oracles_whatever_the_adapter(llm: LLM, world: World) -> None:
    names = ["one", None, "two", "one", None, "two"]
    answers = llm.generate(PROMPTS, GREEDY, adapter=names)
    check(world.oracle, [Answer(p, n, a.token_ids) for p, n, a in zip(PROMPTS, names, answers, strict=True)])
    assert {answer.finish for answer in answers} == {"length"}
    assert [answer.token_ids for answer in llm.generate(PROMPTS, GREEDY, adapter=names)] == [
        answer.token_ids for answer in answers
    ]


def test_guesses_of_a_draft_model_change_no_answer(llm: LLM, guessing: LLM) -> None:
    names = ["one", None, "two", None, None, "two"]
    for sampling in (GREEDY, replace(GREEDY, temperature=0.9, seed=3, top_k=30)):
        plain = llm.generate(PROMPTS, replace(sampling, speculation=0), adapter=names)
        assert not any(answer.drafted_tokens for answer in plain)
        guessed = guessing.generate(PROMPTS, replace(sampling, speculation=4), adapter=names)
        assert [answer.token_ids for answer in guessed] == [answer.token_ids for answer in plain]
        of_the_base = [answer for answer, name in zip(guessed, names, strict=True) if name is None]
        assert all(answer.accepted_tokens == answer.drafted_tokens > 0 for answer in of_the_base), "it is the model"
        assert sum(answer.accepted_tokens for answer in guessed) < sum(answer.drafted_tokens for answer in guessed)


def test_pieces_of_a_stream_make_the_answers(llm: LLM) -> None:
    whole = llm.generate(PROMPTS, GREEDY)
    texts, pieces = [""] * len(PROMPTS), 0
    for piece in llm.stream(PROMPTS, GREEDY):
        texts[piece.index] += piece.text
        pieces += 1
    assert texts == [answer.text for answer in whole]
    assert len(PROMPTS) < pieces <= 12 * len(PROMPTS)  # a piece has what one step said


def test_streams_take_turns_and_one_may_be_left(llm: LLM) -> None:
    expected = llm.generate(["hello"], GREEDY)[0].text
    left, read = llm.stream(["hello"] * 3, GREEDY), llm.stream(["hello"], GREEDY)
    next(left)
    texts = [next(read).text]
    left.close()
    assert "".join([*texts, *(piece.text for piece in read)]) == expected


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(llm: LLM) -> None:
    free = llm.generate(["hello"], Sampling(max_tokens=30, seed=3))[0]
    stop = free.text[6:9]
    stopped = llm.generate(["hello"], Sampling(max_tokens=30, seed=3, stop=(stop,)))[0]
    assert stopped.text == free.text[: free.text.index(stop)]
    assert (stopped.finish, len(stopped.tokens) < len(free.tokens)) == ("stop", True)


def test_a_stop_string_ends_guesses_where_it_ends_tokens(llm: LLM, guessing: LLM) -> None:
    """Of two, the one that is complete first wins, though the other begins before it."""
    sampling = Sampling(max_tokens=60, seed=3, ignore_eos=True, speculation=0)
    free = llm.generate(["hello"], sampling)[0]
    sampling = replace(sampling, stop=(free.text[6:12], free.text[8:10]))
    plain = llm.generate(["hello"], sampling)[0]
    guessed = guessing.generate(["hello"], replace(sampling, speculation=16))[0]
    assert (guessed.text, guessed.tokens, guessed.finish) == (plain.text, plain.tokens, "stop")
    assert 0 < guessed.accepted_tokens < len(guessed.tokens)


def test_beams_are_those_of_transformers(llm: LLM, world: World) -> None:
    stops = tuple(range(0, 90, 9))
    searching = Sampling(10, stop_token_ids=stops, ignore_eos=True, logprobs=1, beams=BeamParams(3, 0.5))
    names = ["one", None]
    answers = llm.generate(PROMPTS[:2], searching, adapter=names)
    for prompt, name, answer in zip(PROMPTS, names, answers, strict=False):
        truth = world.oracle.beams(
            *(name, prompt, stops), num_beams=3, max_new_tokens=10, length_penalty=0.5, early_stopping=False
        )
        assert [found.token_ids for found in answer.beams] == [tokens for tokens, _ in truth]
        assert [found.score for found in answer.beams] == pytest.approx([score for _, score in truth], rel=1e-5)
        best = answer.beams[0]
        assert (answer.text, answer.token_ids, answer.finish) == (best.text, best.token_ids, best.finish)
        assert all(token.logprob is not None and len(token.top) == 1 for token in best.tokens)
        assert answer.text == "".join(chr(token + 33) for token in answer.token_ids if token < 94)
    assert not llm.generate(PROMPTS[:1], GREEDY)[0].beams


def test_a_stop_string_cuts_what_a_search_found(llm: LLM) -> None:
    searching = Sampling(16, ignore_eos=True, beams=BeamParams(2))
    free = next(answer for answer in llm.generate(PROMPTS, searching, adapter="one") if answer.text)
    stop = free.text[-1]
    [cut] = llm.generate([free.prompt_token_ids], replace(searching, stop=(stop,)), adapter="one")
    assert (cut.text, cut.finish) == (free.text[: free.text.index(stop)], "stop")
    assert cut.token_ids == free.token_ids[: free.token_ids.index(ord(stop) - 33) + 1]
    assert cut.beams[0].score == pytest.approx(free.beams[0].score, rel=1e-4)


def test_vectors_are_the_oracles(llm: LLM, world: World) -> None:
    for pooling in Pooling:
        vectors = llm.embed(PROMPTS, adapter="two", pooling=pooling)
        for prompt, vector in zip(PROMPTS, vectors, strict=True):
            hidden = world.oracle.hidden("two", prompt)
            pooled = hidden.mean(0) if pooling is Pooling.MEAN else hidden[-1]
            torch.testing.assert_close(vector, torch.nn.functional.normalize(pooled, dim=-1), atol=2e-5, rtol=0)


def test_prompts_are_scored(llm: LLM, world: World) -> None:
    [scored] = llm.generate([PROMPTS[1]], Sampling(max_tokens=0, prompt_logprobs=0), adapter="one")
    logprobs = world.oracle.logits("one", PROMPTS[1])[:-1].log_softmax(-1)
    expected = logprobs.gather(1, torch.tensor(PROMPTS[1][1:])[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor([t.logprob for t in scored.prompt]), expected, atol=2e-4, rtol=0)
    assert scored.tokens == ()


def test_answers_keep_to_what_they_must_be() -> None:
    pytest.importorskip("llguidance")
    torch.set_num_threads(1)
    demo = Path(__file__).parents[3] / "examples" / "demo"
    llm = LLM(demo / "model", {"reverse": demo / "adapters" / "reverse"}, device="cpu", settings=SETTINGS)
    digits = Constraint(ConstraintKind.REGEX, "[0-9]{3}")
    answers = llm.generate(["The garden", "A"], Sampling(seed=1, constraint=digits), adapter=["reverse", None])
    assert all(re.fullmatch("[0-9]{3}", answer.text) for answer in answers)
    with pytest.raises(ConstraintRefused):
        llm.generate(["a"], Sampling(constraint=Constraint(ConstraintKind.REGEX, "(")))
    llm.close()


def test_what_cannot_be_is_refused_in_a_sentence(llm: LLM, world: World, tmp_path: Path) -> None:
    with pytest.raises(AdapterUnusable, match="no adapter 'three'; this LLM has one, two"):
        llm.generate(["a"], adapter="three")
    with pytest.raises(InvalidRequest, match="over the context length"):
        llm.generate(["a"], Sampling(max_tokens=5000))
    with pytest.raises(InvalidRequest, match="top_p is 0"):
        Sampling(top_p=0)
    with pytest.raises(InvalidRequest, match="width from 1 to 32"):
        Sampling(beams=BeamParams(33))
    with pytest.raises(InvalidRequest, match="logit_bias is given with beams"):
        Sampling(beams=BeamParams(2), logit_bias=((1, 2.0),))
    with pytest.raises(InvalidRequest, match="over the vocabulary's"):
        llm.generate(["a"], Sampling(stop_token_ids=tuple(range(llm.spec.vocab_size)), beams=BeamParams(2)))
    with pytest.raises(AdapterUnusable, match=r"has no adapter_config\.json"):
        LLM(world.folder, {"empty": tmp_path}, device="cpu")
    with pytest.raises(StartError, match="device='tpu'"):
        LLM(world.folder, device="tpu")
    assert llm.generate(["a"], GREEDY)[0].finish == "length"
