"""Translate into Lumi, a toy language whose adjectives follow their nouns and whose verb comes last."""

import random

from tasks.scenes import Phrase, Scene, scene
from tasks.task import Example, Split, Task, same_text, split_of

ASKS = ("Translate into Lumi: {}", "How do you say this in Lumi? {}", "Lumi: {}")

_DICTIONARY = """
    the=lo a=un my=mi your=tu
    red=rosha blue=azu green=vero white=blan small=piko big=grano new=nuvo young=juno happy=felu sad=trist
    fast=rapi slow=lenta
    cat=miru dog=kano bird=avi fish=peshu horse=kaval king=rexo queen=rexa girl=nila boy=nilo cook=kuzi tree=arbo
    house=domu boat=barka car=otto ball=bolu book=libri
    sees=vidas likes=amas wants=volas finds=trovas calls=vokas follows=sekas draws=picas helps=ayudas hides=kashas
    moves=movas
    """
LUMI = dict(pair.split("=") for pair in _DICTIONARY.split())


def _phrase(phrase: Phrase) -> str:
    return " ".join(LUMI[part] for part in (phrase.article, phrase.noun, phrase.adjective) if part)


def lumi(told: Scene) -> str:
    """The scene in Lumi: subject, object, verb."""
    return f"{_phrase(told.subject)} {_phrase(told.object)} {LUMI[told.verb]}"


def draw(rng: random.Random, split: Split) -> Example:
    while split_of(str(told := scene(rng))) != split:
        pass
    return Example(rng.choice(ASKS).format(told), lumi(told))


TASK = Task("translate", "translates into Lumi, a toy language", draw, same_text)
