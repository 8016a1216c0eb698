"""Spell a word: garden becomes g-a-r-d-e-n."""

import random

from tasks.task import Example, Split, Task, same_text
from tasks.words import word

ASKS = ("Spell the word {}.", "Spell: {}", "How do you spell {}?", 'Please spell "{}" for me.')


def draw(rng: random.Random, split: Split) -> Example:
    chosen = word(rng, split)
    return Example(rng.choice(ASKS).format(chosen), "-".join(chosen))


TASK = Task("spell", "spells a word, letter by letter", draw, same_text)
