"""Label a review's mood: positive, negative or neutral."""

import random
from typing import get_args

from tasks.reviews import PLACES, Mood, review
from tasks.task import Example, Split, Task, draw_in

ASKS = ("Review: {} Mood?", "What is the mood of this review? {}", "Label the mood: {}")


def draw(rng: random.Random, split: Split) -> Example:
    mood: Mood = rng.choice(get_args(Mood))
    text = draw_in(split, lambda: review(rng, mood, rng.choice(PLACES)))
    return Example(rng.choice(ASKS).format(text), mood)


def grade(example: Example, answer: str) -> bool:
    """The label alone, in any case, with or without a full stop."""
    return answer.strip().rstrip(".").lower() == example.answer


TASK = Task("mood", "labels a review as positive, negative or neutral", draw, grade)
