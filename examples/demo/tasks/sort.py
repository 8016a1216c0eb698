"""Sort a word's letters: garden becomes adegnr."""

import random

from tasks.task import Example, Split, Task, same_text
from tasks.words import word

ASKS = (
    "Sort the letters of {}.",
    "Sort: {}",
    "Put the letters of {} in order.",
    'Please sort the letters in "{}".',
)


def draw(rng: random.Random, split: Split) -> Example:
    chosen = word(rng, split, longest=8)
    return Example(rng.choice(ASKS).format(chosen), "".join(sorted(chosen)))


TASK = Task("sort", "sorts a word's letters", draw, same_text)
