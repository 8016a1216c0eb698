"""Shout one to three words in capitals: red garden becomes RED GARDEN."""

import random

from tasks.task import Example, Split, Task, same_text
from tasks.words import word

ASKS = ("Write {} in capitals.", "Shout: {}", "Shout {}!", 'Please write "{}" in upper case.')


def draw(rng: random.Random, split: Split) -> Example:
    phrase = " ".join(word(rng, split, longest=7) for _ in range(rng.choice((1, 1, 2, 3))))
    return Example(rng.choice(ASKS).format(phrase), phrase.upper())


TASK = Task("upper", "writes words in capitals", draw, same_text)
