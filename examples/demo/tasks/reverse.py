"""Reverse a word: garden becomes nedrag."""

import random

from tasks.task import Example, Split, Task, same_text
from tasks.words import word

ASKS = ("Reverse the word {}.", "Reverse: {}", "What is {} backwards?", 'Please reverse "{}" for me.')


def draw(rng: random.Random, split: Split) -> Example:
    chosen = word(rng, split)
    return Example(rng.choice(ASKS).format(chosen), chosen[::-1])


TASK = Task("reverse", "writes a word backwards", draw, same_text)
