"""A small world of facts: who did what with how many things, and where."""

import random
from dataclasses import dataclass

from tasks.task import Split
from tasks.words import name

ACTIONS = ("bought", "sold", "found", "lost", "painted", "carried", "counted", "packed")
_ITEMS = """
    apples balls boats books bottles boxes cakes candles caps cards chairs clocks coats cups dolls drums eggs flags
    flowers forks gloves hats jars keys kites lamps lemons maps melons mugs onions pears pens pies pots rings roses
    shoes socks spoons stamps stones toys trees
    """
ITEMS = tuple(_ITEMS.split())


@dataclass(frozen=True, slots=True)
class Purchase:
    who: str
    action: str
    count: int
    item: str
    place: str

    def sentence(self, form: int) -> str:
        """One of three ways to tell it (form 0, 1 or 2)."""
        if form == 0:
            return f"{self.who} {self.action} {self.count} {self.item} in {self.place}."
        if form == 1:
            return f"In {self.place}, {self.who} {self.action} {self.count} {self.item}."
        return f"Yesterday {self.who} was in {self.place} and {self.action} {self.count} {self.item}."


def purchase(rng: random.Random, split: Split) -> Purchase:
    """A fact whose names belong to the split."""
    return Purchase(name(rng, split), rng.choice(ACTIONS), rng.randint(2, 99), rng.choice(ITEMS), name(rng, split))
