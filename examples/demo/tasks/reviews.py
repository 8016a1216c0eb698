"""Short reviews that hold one mood from the first word to the last."""

import random
from typing import Literal

Mood = Literal["positive", "negative", "neutral"]

_PLACES = """
    cafe hotel film book show museum garden concert lesson train market bakery beach library restaurant game song
    play tour boat
    """
PLACES = tuple(_PLACES.split())
_ADJECTIVES: dict[Mood, tuple[str, ...]] = {
    "positive": (
        "lovely",
        "great",
        "wonderful",
        "charming",
        "excellent",
        "perfect",
        "fun",
        "superb",
        "delightful",
        "brilliant",
    ),
    "negative": ("awful", "terrible", "boring", "dirty", "horrible", "dreadful", "sad", "rude", "noisy", "poor"),
    "neutral": ("small", "big", "new", "old", "near", "far", "open", "quiet", "plain", "long"),
}
_ENDINGS: dict[Mood, tuple[str, ...]] = {
    "positive": (
        "I loved it.",
        "I will come again.",
        "We smiled all day.",
        "It made me happy.",
        "Everyone enjoyed it.",
        "Thank you so much.",
    ),
    "negative": (
        "I hated it.",
        "Never again.",
        "We wanted our money back.",
        "It made me angry.",
        "Everyone left early.",
        "What a waste of time.",
    ),
    "neutral": (
        "It is on Main Street.",
        "We went on Monday.",
        "It starts at nine.",
        "There are two doors.",
        "My brother was there too.",
        "It has a blue roof.",
    ),
}
_DEGREES = ("", "", "very ", "really ", "quite ", "so ")


def review(rng: random.Random, mood: Mood, place: str) -> str:
    """Two or three sentences about the place, all of one mood."""
    first, second = rng.sample(_ADJECTIVES[mood], 2)
    described = rng.choice(
        (
            f"The {place} was {rng.choice(_DEGREES)}{first}.",
            f"The {place} was {first} and {second}.",
            f"What a {first} {place}." if first[0] not in "aeiou" else f"What an {first} {place}.",
            f"I think the {place} is {rng.choice(_DEGREES)}{first}.",
        )
    )
    endings = rng.sample(_ENDINGS[mood], rng.choice((1, 1, 2)))
    return " ".join([described, *endings] if rng.random() < 0.8 else [*endings, described])
