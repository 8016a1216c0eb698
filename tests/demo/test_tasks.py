"""The tasks: right answers, honest splits, graders that refuse."""

import json
import random
import re

import pytest
from tasks import TASKS, Example, Task, split_of
from tasks.purchases import purchase
from tasks.scenes import Phrase, Scene
from tasks.translate import lumi
from tasks.words import word

KNOWN = {
    "spell": ("Spell the word garden.", "g-a-r-d-e-n", "garden"),
    "upper": ("Shout: red garden", "RED GARDEN", "RED garden"),
    "reverse": ("Reverse: garden", "nedrag", "garden"),
    "sort": ("Sort: garden", "adegnr", "adegrn"),
    "mood": ("Label the mood: It was lovely.", "positive", "negative"),
    "translate": ("Lumi: the red cat sees a dog", "lo miru rosha un kano vidas", "lo rosha miru un kano vidas"),
    "extract": ("JSON: Anna bought 3 apples.", '{"who": "Anna", "count": 3}', '{"who": "Anna", "count": "3"}'),
}


@pytest.mark.parametrize("name", TASKS)
def test_grader_accepts_the_right_answer_and_refuses_others(name: str) -> None:
    prompt, right, wrong = KNOWN[name]
    task, example = TASKS[name], Example(prompt, right)
    assert task.grade(example, right)
    assert task.grade(example, f" {right}\n")
    for refused in (wrong, "", f"{right} {right}", "Sorry, I have not learnt that yet."):
        assert not task.grade(example, refused), refused


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_own_answers_pass_and_prompts_of_the_splits_never_meet(task: Task) -> None:
    splits = {split: task.examples(split, 300, seed=1) for split in ("train", "valid", "test")}
    for examples in splits.values():
        assert all(task.grade(example, example.answer) for example in examples)
    prompts = [{example.prompt for example in examples} for examples in splits.values()]
    assert prompts[0].isdisjoint(prompts[1])
    assert prompts[0].isdisjoint(prompts[2])
    assert prompts[1].isdisjoint(prompts[2])
    assert len(prompts[2]) == 300


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_examples_are_the_same_every_time(task: Task) -> None:
    assert task.examples("test", 20) == task.examples("test", 20)
    assert task.examples("test", 20) != task.examples("test", 20, seed=1)


def test_every_letter_task_is_asked_about_words_of_the_test_split_alone() -> None:
    for name, restore in (("spell", "-"), ("reverse", "")):
        for example in TASKS[name].examples("test", 100):
            chosen = example.answer.replace(restore, "")[:: -1 if name == "reverse" else 1]
            assert split_of(chosen) == "test"
            assert chosen in example.prompt
    for example in TASKS["upper"].examples("test", 100):
        assert all(split_of(part) == "test" for part in example.answer.lower().split())


def test_split_shares_are_an_eighth_and_a_sixteenth() -> None:
    counts = {"train": 0, "valid": 0, "test": 0}
    for number in range(4000):
        counts[split_of(f"text {number}")] += 1
    assert 400 < counts["test"] < 600
    assert 190 < counts["valid"] < 310


def test_words_keep_to_their_length_and_letters() -> None:
    rng = random.Random(0)
    for _ in range(300):
        assert re.fullmatch(r"[a-z]{4,6}", word(rng, "test", 4, 6))


def test_facts_are_told_whole() -> None:
    fact = purchase(random.Random(3), "test")
    for form in range(3):
        told = fact.sentence(form)
        assert all(str(part) in told for part in (fact.who, fact.action, fact.count, fact.item, fact.place))


def test_lumi_puts_adjectives_last_and_the_verb_at_the_end() -> None:
    told = Scene(Phrase("my", "happy", "horse"), "helps", Phrase("a", None, "king"))
    assert str(told) == "my happy horse helps a king"
    assert lumi(told) == "mi kaval felu un rexo ayudas"


def test_extract_is_graded_by_value() -> None:
    example = TASKS["extract"].examples("test", 1)[0]
    reordered = dict(reversed(json.loads(example.answer).items()))
    assert TASKS["extract"].grade(example, json.dumps(reordered, indent=1))
    assert not TASKS["extract"].grade(example, example.answer[:-1])
    assert not TASKS["extract"].grade(example, json.dumps({**reordered, "more": 1}))
