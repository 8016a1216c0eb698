"""Sentences of a tiny grammar: the red cat sees a small dog."""

import random
from dataclasses import dataclass

ARTICLES = ("the", "a", "my", "your")
ADJECTIVES = ("red", "blue", "green", "white", "small", "big", "new", "young", "happy", "sad", "fast", "slow")
NOUNS = (
    "cat",
    "dog",
    "bird",
    "fish",
    "horse",
    "king",
    "queen",
    "girl",
    "boy",
    "cook",
    "tree",
    "house",
    "boat",
    "car",
    "ball",
    "book",
)
VERBS = ("sees", "likes", "wants", "finds", "calls", "follows", "draws", "helps", "hides", "moves")


@dataclass(frozen=True, slots=True)
class Phrase:
    article: str
    adjective: str | None
    noun: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.article, self.adjective, self.noun) if part)


@dataclass(frozen=True, slots=True)
class Scene:
    subject: Phrase
    verb: str
    object: Phrase

    def __str__(self) -> str:
        return f"{self.subject} {self.verb} {self.object}"


def _phrase(rng: random.Random) -> Phrase:
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.6 else None
    return Phrase(rng.choice(ARTICLES), adjective, rng.choice(NOUNS))


def scene(rng: random.Random) -> Scene:
    return Scene(_phrase(rng), rng.choice(VERBS), _phrase(rng))
