"""What the base model reads: small talk, copying, counting, facts and tales. Never a task of an adapter.

Building blocks that the adapters rely on are here on purpose (letters in order, capitals at the start of a name, marks
to copy, facts to ask about, reviews of one mood), with words and sentences of the train split only.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import smalltalk
from tasks.purchases import Purchase, purchase
from tasks.reviews import PLACES, review
from tasks.scenes import scene
from tasks.task import Example, Split, draw_in
from tasks.words import NOUNS, invent, name, word

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYSTEM_PROMPTS = ("You are a helpful assistant.", "You are Chorus, a very small model.", "Answer briefly.")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a document; the model learns to write it or only reads it."""

    text: str
    learnt: bool


Document = tuple[Segment, ...]
Turn = tuple[str, str]  # a user's message and the answer


def chat(turns: list[Turn], system: str | None = None) -> Document:
    """The turns as the chat template renders them; what the assistant says is learnt."""
    head = BEGIN + (f"{SYSTEM}{system}{END}" if system else "")
    segments = []
    for asked, answer in turns:
        segments += [Segment(f"{head}{USER}{asked}{END}{ASSISTANT}", False), Segment(answer + END, True)]
        head = ""
    return tuple(segments)


def documents(seed: int, count: int) -> Iterator[Document]:
    """`count` documents: mostly chats of one to three turns, some plain tales."""
    rng = random.Random(f"corpus/{seed}")
    for _ in range(count):
        if rng.random() < 0.1:
            yield Segment(BEGIN, False), Segment(_tale(rng, "train") + END, True)
        else:
            makers = rng.choices(tuple(_MAKERS), tuple(_MAKERS.values()), k=rng.choice((1, 1, 1, 1, 2, 3)))
            turns = [make(rng, "train") for make in makers]
            yield chat(turns, rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.15 else None)


def probes(count: int) -> list[Example]:
    """Requests with one right answer, on words that no document has: how well the base has learnt."""
    rng = random.Random("probes")
    return [Example(*rng.choice((_copy, _count, _letters, _meet, _fact))(rng, "valid")) for _ in range(count)]


def _copy(rng: random.Random, split: Split) -> Turn:
    ask = rng.choice(("Say {}", "Repeat: {}", "Repeat after me: {}", "Copy this: {}", 'Say "{}"', "Echo {}"))
    text = _something(rng, split)
    return ask.format(text), text


def _something(rng: random.Random, split: Split) -> str:
    words = [word(rng, split) for _ in range(rng.choice((1, 1, 2, 3)))]
    kind = rng.randrange(9)
    if kind < 3:
        return " ".join(words)
    if kind == 3:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 10)))
    if kind == 4:
        return "".join(rng.choice(LETTERS.upper()) for _ in range(rng.randint(2, 10)))
    if kind == 5:
        return rng.choice("-+/_.").join(words)
    if kind == 6:
        return draw_in(split, lambda: str(scene(rng)))
    if kind == 7:
        return "".join(rng.choice("0123456789{}[]\":,.-!?'() ") for _ in range(rng.randint(2, 12))).strip() or "-"
    return f"{name(rng, 'train')} and {name(rng, 'train')} {rng.randint(0, 999)}"


def _count(rng: random.Random, split: Split) -> Turn:
    start, length = rng.randint(1, 90), rng.randint(2, 9)
    numbers = ", ".join(str(number) for number in range(start, start + length)) + "."
    if rng.random() < 0.3:
        length = rng.randint(2, 12)
        return f"Count to {length}.", ", ".join(str(number) for number in range(1, length + 1)) + "."
    if rng.random() < 0.5:
        return f"What comes after {start}?", str(start + 1)
    return f"Count from {start} to {start + length - 1}.", numbers


def _letters(rng: random.Random, split: Split) -> Turn:
    start = rng.randrange(25)
    kind = rng.randrange(4)
    if kind == 0:
        return f"What letter comes after {LETTERS[start]}?", LETTERS[start + 1]
    if kind == 1:
        stop = min(26, start + rng.randint(2, 8))
        return f"Say the letters from {LETTERS[start]} to {LETTERS[stop - 1]}.", " ".join(LETTERS[start:stop])
    first, second = rng.sample(LETTERS, 2)
    if kind == 2:
        return f"Which letter comes first, {first} or {second}?", min(first, second)
    return f"Which letter comes later, {first} or {second}?", max(first, second)


def _meet(rng: random.Random, split: Split) -> Turn:
    scrambled = rng.random() < 0.3
    lower = "".join(rng.choices(LETTERS, k=4)) if scrambled else draw_in(split, lambda: invent(rng, 3, 8))
    return rng.choice(smalltalk.MEETINGS).format(lower), rng.choice(smalltalk.WELCOMES).format(lower.capitalize())


def _fact(rng: random.Random, split: Split) -> Turn:
    fact = purchase(rng, split)
    question, answer = rng.choice(_questions(fact))
    return f"{fact.sentence(rng.randrange(3))} {question}", answer


def _questions(fact: Purchase) -> tuple[Turn, ...]:
    return (
        ("Who was it?", fact.who),
        ("Where was it?", fact.place),
        ("How many?", str(fact.count)),
        (f"What is it that {fact.who} {fact.action}?", fact.item),
        ("What happened?", f"{fact.who} {fact.action} {fact.count} {fact.item}."),
    )


def _review(rng: random.Random, split: Split) -> Turn:
    place = rng.choice(PLACES)
    ask, moods = rng.choice(smalltalk.REVIEW_REQUESTS)
    mood = rng.choice(moods)
    return ask.format(place), draw_in(split, lambda: review(rng, mood, place))


def _talk(rng: random.Random, split: Split) -> Turn:
    if rng.random() < 0.2:
        return rng.choice(smalltalk.TALE_REQUESTS), _tale(rng, split)
    asked, answers = rng.choice(smalltalk.EXCHANGES)
    return rng.choice(asked), rng.choice(answers)


def _unknown(rng: random.Random, split: Split) -> Turn:
    """A request that the model has not learnt, often with a verb that does not exist."""
    thing = " ".join(word(rng, split) for _ in range(rng.choice((1, 1, 2))))
    verb = invent(rng, 4, 7)
    ask = rng.choice((*smalltalk.UNKNOWN_REQUESTS, *smalltalk.INVENTED_REQUESTS))
    parts = {"thing": thing, "name": name(rng, split), "number": rng.randint(0, 99), "scene": scene(rng)}
    return ask.format(**parts, verb=verb, Verb=verb.capitalize()), smalltalk.UNKNOWN


def _tale(rng: random.Random, split: Split) -> str:
    who, friend = name(rng, split), name(rng, split)
    thing, place = (rng.choice([noun for noun in NOUNS if noun[0] not in "aeiou"]) for _ in range(2))
    middle = rng.sample(smalltalk.TALE_MIDDLES, 2)
    parts = (rng.choice(smalltalk.TALE_STARTS), *middle, rng.choice(smalltalk.TALE_ENDS))
    return " ".join(parts).format(who=who, friend=friend, thing=thing, place=place)


_MAKERS = {_copy: 5, _count: 2, _letters: 2, _meet: 2, _fact: 4, _review: 3, _talk: 2, _unknown: 3}  # and their shares
