"""Drafts, as the networks and the sampler see them: each position of a row that has any is a row of one token.

Such a row's keys and values lie in the same blocks, and a position sees those before it. So verifying takes no kernel
and no graph of its own, and a position's logits are computed as they would have been without drafts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chorus_engine.core.plan import RowStep
from chorus_engine.runner.transfer import upload

# (drafts, the tokens drawn in their places and one more) → how many drafts are taken
Verify = Callable[[Sequence[int], Sequence[int]], int]


def agreeing(drafts: Sequence[int], drawn: Sequence[int]) -> int:
    """Drafts are taken for as long as they are what was drawn: so they change no token."""
    for taken, (draft, token) in enumerate(zip(drafts, drawn, strict=False)):
        if draft != token:
            return taken
    return len(drafts)


@dataclass(frozen=True, slots=True)
class Singles:
    """A plan's rows, those with drafts taken apart."""

    steps: tuple[RowStep, ...]
    origin: Sequence[int]  # index in the plan of each
    drafted: bool  # whether any was taken apart

    def owners(self, drawn: Sequence[int]) -> Sequence[int]:
        """Index in the plan of each row that draws. drawn: index in `steps` of each place."""
        if not self.drafted:
            return drawn
        owners = [self.origin[index] for index in drawn]
        return [owners[places.start] for places in spans(owners)]


def singles(steps: tuple[RowStep, ...]) -> Singles:
    """Rows of one token in a row's place, in the order of its positions; their blocks are the table's already."""
    if not any(step.drafted for step in steps):
        return Singles(steps, range(len(steps)), drafted=False)
    apart: list[RowStep] = []
    origin: list[int] = []
    for index, step in enumerate(steps):
        if step.drafted:
            apart += [RowStep(step.row, step.start + place, 1, (), True) for place in range(step.count)]
        else:
            apart.append(step)
        origin += [index] * (len(apart) - len(origin))
    return Singles(tuple(apart), origin, drafted=True)


def spans(rows: Sequence[int]) -> list[range]:
    """The places of each row, which lie side by side. rows: of each place of a draw."""
    found: list[range] = []
    for place, row in enumerate(rows):
        if place and rows[place - 1] == row:
            found[-1] = range(found[-1].start, place + 1)
        else:
            found.append(range(place, place + 1))
    return found


def nth(rows: Sequence[int]) -> list[int]:
    """By place: how many places of the same row are before it."""
    return [n for places in spans(rows) for n in range(len(places))]


def taken(tokens: Tensor, before: Tensor, order: Sequence[int]) -> Tensor:
    """[places] bool: whether every draft before the place is what was drawn for it.

    tokens: [places], drawn; before: [places], the token that each place comes after, a draft where order, which is
    `nth`'s, is not 0.
    """
    first = upload(torch.tensor([place - n for place, n in enumerate(order)], dtype=torch.int64), device=tokens.device)
    drafted = first != torch.arange(len(order), device=tokens.device)
    wrong = (drafted & (tokens.roll(1) != before)).cumsum(0)  # [places], in all rows so far
    return wrong == wrong[first]
