"""A smaller model beside the one that is served, which guesses what rows will draw next.

It has no adapters. Its keys and values lie in the same blocks of a cache of its own, so what a plan does with blocks
it does for both. What it guesses changes no token: the model that is served verifies it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chorus_engine.core.plan import RowStep
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel
from chorus_engine.runner.kv_cache import KvCache, Pairs
from chorus_engine.runner.network import Computed, Network
from chorus_engine.runner.rows import RowTable
from chorus_kernels.sampling import draw

Guess = Callable[[Tensor, Computed, Sequence[RowStep]], Tensor]  # as Sampler.guess


class DraftModel:
    """Prompts go through it when they go through the model that is served, since their blocks may be shared. What a row
    decodes without guesses waits until it guesses again, so that steps without guesses cost nothing."""

    def __init__(
        self, model: LoadedModel, network: Network, cache: KvCache, rows: RowTable, capacity: Capacity, guess: Guess
    ) -> None:
        """network: the model's, on the same rows without adapters. guess: one token a row that samples."""
        self._decoder = model.decoder
        self._guess = guess
        self._device = model.device
        self._network = network
        self._cache = cache
        self._rows = rows
        self._most_tokens = capacity.max_num_batched_tokens
        self._known: dict[int, int] = {}  # by row: positions whose keys and values are in the cache
        if model.device.type == "cuda":  # a shared block may have positions that went by without guesses
            cache.clear(range(capacity.num_blocks))

    @property
    def cache_bytes(self) -> int:
        return self._cache.bytes

    @property
    def graph_bytes(self) -> int:
        return self._network.graph_bytes

    def warm_up(self) -> None:
        """As the network's, and what guessing launches besides."""
        self._network.warm_up()
        for rows in self._network.sample_sizes:
            width = self._decoder.config.hidden_size
            logits = self._decoder.logits(self._decoder.norm.new_zeros(rows, width))
            numbers = torch.zeros(rows, dtype=torch.int64, device=self._device)
            draw(logits, numbers.float(), numbers, numbers)

    def swap_out(self, pairs: Pairs) -> None:
        self._cache.swap_out(pairs)

    def release(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._known.pop(row, None)

    def fill(self, new_blocks: Sequence[int], swap_in: Pairs, copy: Pairs) -> None:
        """As the plan has it."""
        self._network.clear(new_blocks)
        self._cache.swap_in(swap_in)
        self._cache.copy(copy)

    def run(self, steps: Sequence[RowStep]) -> None:
        """The plan's rows. Afterwards the guesses that they ask for are in the row table, after each row's last token.

        All of the batch's rows take their next guess at once, and the host waits for none of them.
        """
        guessing = [step for step in steps if step.guesses]
        pieces = self._pieces(steps)
        computed = self._network.run(pieces) if pieces else None
        ahead = 0
        while guessing:
            assert computed is not None, "who guesses samples"
            self._store(computed, pieces)
            ahead += 1
            # The last guess is computed too: taken, it is part of the context.
            pieces = tuple(RowStep(step.row, step.start + ahead, 1, (), True) for step in guessing)
            computed = self._network.run(pieces)
            guessing = [step for step in guessing if step.guesses > ahead]

    def _pieces(self, steps: Sequence[RowStep]) -> tuple[RowStep, ...]:
        """What rows have beyond what was computed, if they guess or have more than one token."""
        wanted = [step for step in steps if step.guesses or step.count > 1]
        pieces = [self._piece(step) for step in wanted]
        if sum(piece.count for piece in pieces) > self._most_tokens:
            pieces = [self._catch_up(piece) if piece.sample else piece for piece in pieces]
        for step in steps:
            self._known.setdefault(step.row, step.start)
        self._known.update((step.row, step.start + step.count) for step in wanted)
        return tuple(pieces)

    def _piece(self, step: RowStep) -> RowStep:
        # A guess that was not taken is computed anew, as what was drawn instead.
        begin = min(self._known.get(step.row, step.start), step.start)
        return RowStep(step.row, begin, step.start + step.count - step.guesses - begin, (), step.guesses > 0)

    def _catch_up(self, piece: RowStep) -> RowStep:
        """What is left is its last token."""
        last = piece.start + piece.count - 1
        for start in range(piece.start, last, self._most_tokens):
            self._network.run((RowStep(piece.row, start, min(self._most_tokens, last - start), (), False),))
        return RowStep(piece.row, last, 1, (), True)

    def _store(self, computed: Computed, pieces: Sequence[RowStep]) -> None:
        """A guess for each row that sampled. One that had all its guesses gets one more: a token is drawn there in any
        case."""
        tokens = self._guess(self._decoder.logits(computed.normed), computed, pieces)
        self._rows.store_sampled(computed.rows[: len(tokens)], computed.positions[: len(tokens)], tokens)
