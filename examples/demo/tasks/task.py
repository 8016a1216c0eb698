"""What a task is: prompts with one right answer each, split for good into train, valid and test."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """A user's message and the answer that is right."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Task:
    """A skill. `draw` makes an example of a split; `grade` judges an answer to it."""

    name: str
    summary: str
    draw: Callable[[random.Random, Split], Example]
    grade: Callable[[Example, str], bool]

    def examples(self, split: Split, count: int, seed: int = 0) -> list[Example]:
        """`count` examples; of valid and test no two have the same prompt."""
        rng = random.Random(f"{self.name}/{split}/{seed}")
        if split == "train":
            return [self.draw(rng, split) for _ in range(count)]
        found: dict[str, Example] = {}
        while len(found) < count:
            example = self.draw(rng, split)
            found.setdefault(example.prompt, example)
        return list(found.values())


def split_of(text: str) -> Split:
    """The split that a word or sentence belongs to, from its hash alone: 1/8 test, 1/16 valid, the rest train."""
    bucket = hashlib.sha256(text.encode()).digest()[0] % 16
    return "test" if bucket < 2 else "valid" if bucket == 2 else "train"


def draw_in(split: Split, make: Callable[[], str]) -> str:
    """Calls `make` until its text belongs to the split."""
    while split_of(text := make()) != split:
        pass
    return text


def same_text(example: Example, answer: str) -> bool:
    """The answer is the right one, letter for letter, but for space around it."""
    return answer.strip() == example.answer
