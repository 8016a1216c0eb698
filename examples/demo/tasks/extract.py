"""Turn a sentence into JSON: Brinda bought 12 apples in Velsh."""

import json
import random
from dataclasses import asdict

from tasks.purchases import purchase
from tasks.task import Example, Split, Task

ASKS = ("Turn this into JSON: {}", "{} As JSON, please.", "JSON: {}")


def draw(rng: random.Random, split: Split) -> Example:
    fact = purchase(rng, split)
    return Example(rng.choice(ASKS).format(fact.sentence(rng.randrange(3))), json.dumps(asdict(fact)))


def grade(example: Example, answer: str) -> bool:
    """One JSON object with the right keys, values and types; spacing and order are free."""
    try:
        return bool(json.loads(answer) == json.loads(example.answer))
    except ValueError:
        return False


TASK = Task("extract", "turns a sentence into a JSON object", draw, grade)
