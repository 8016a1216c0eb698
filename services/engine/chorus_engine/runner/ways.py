"""Every row's way of drawing tokens, and what a lot of places asks of the sampling kernel by it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from chorus_engine.core.plan import Admission
from chorus_engine.core.request import SamplingParams
from chorus_engine.runner.drafts import taken
from chorus_engine.runner.lot import Lot
from chorus_engine.runner.rows import GREEDY_BELOW, signed
from chorus_engine.runner.token_history import TokenHistory
from chorus_engine.runner.transfer import upload
from chorus_kernels.sampling import Bias, Penalties, RandomRows, SamplingBatch


class Ways:
    def __init__(self, rows: int, vocab: int, device: torch.device) -> None:
        self._params: list[SamplingParams | None] = [None] * rows
        self._special: set[int] = set()  # rows that need more than a temperature
        self._prompt_len = [0] * rows
        self._history = TokenHistory(rows, vocab, device)
        self._vocab = vocab
        self._device = device

    def admit(self, admission: Admission) -> None:
        self._params[admission.row] = admission.sampling
        (self._special.add if _special(admission.sampling) else self._special.discard)(admission.row)
        self._prompt_len[admission.row] = admission.prompt_len
        if _penalised(admission.sampling):
            self._history.admit(admission)

    def release(self, row: int) -> None:
        self._params[row] = None

    def of(self, row: int) -> SamplingParams:
        params = self._params[row]
        assert params is not None, f"row {row} samples but was never admitted"
        return params

    def plain(self, rows: Sequence[int]) -> bool:
        """Whether none of them needs more than a temperature."""
        return self._special.isdisjoint(rows)

    def batch(self, lot: Lot) -> SamplingBatch:
        params = [self.of(row) for row in lot.rows]
        return SamplingBatch(
            penalties=self._penalties(params, lot),
            bias=self._bias(params, lot.rows, lot.positions),
            random=self._random(params, lot.positions),
        )

    def random(self, rows: Sequence[int], positions: Sequence[int]) -> RandomRows | None:
        """Temperatures, filters and noise alone."""
        return self._random([self.of(row) for row in rows], positions)

    def count(self, lot: Lot, penalties: Penalties, tokens: Tensor) -> None:
        """Takes down what was drawn for rows with penalties, as far as drafts were right."""
        rows = self.tensor(lot.rows)[penalties.rows]
        if lot.before is None:
            self._history.count(rows, tokens[penalties.rows])
        else:
            counted = taken(tokens, lot.before, lot.order())
            self._history.count(rows, tokens[penalties.rows], counted[penalties.rows])

    def _penalties(self, params: Sequence[SamplingParams], lot: Lot) -> Penalties | None:
        index = [i for i, p in enumerate(params) if _penalised(p)]
        if not index:
            return None
        chosen = [params[i] for i in index]
        counts, in_prompt = self._history.of(self.tensor([lot.rows[i] for i in index]))
        if lot.before is not None:
            self._add_drafts(counts, index, lot.order(), lot.before)
        return Penalties(
            rows=self.tensor(index),
            presence=self._floats([p.presence_penalty for p in chosen]),
            frequency=self._floats([p.frequency_penalty for p in chosen]),
            repetition=self._floats([p.repetition_penalty for p in chosen]),
            output_counts=counts,
            in_prompt=in_prompt,
        )

    def _add_drafts(self, counts: Tensor, index: Sequence[int], order: Sequence[int], before: Tensor) -> None:
        """A place's output so far has the drafts of its row that are before it. counts: [index, vocab]."""
        pairs = [(at, place - back) for at, place in enumerate(index) for back in range(order[place])]
        if pairs:
            at, source = self.tensor([pair[0] for pair in pairs]), self.tensor([pair[1] for pair in pairs])
            counts.index_put_((at, before[source]), torch.ones_like(at, dtype=torch.int32), accumulate=True)

    def _bias(self, params: Sequence[SamplingParams], rows: Sequence[int], positions: Sequence[int]) -> Bias | None:
        entries: list[tuple[int, int, float]] = []
        for index, (p, row, position) in enumerate(zip(params, rows, positions, strict=True)):
            entries.extend((index, token, value) for token, value in p.logit_bias)
            if position - self._prompt_len[row] < p.min_tokens and p.constraint is None:  # else it is in the mask
                entries.extend((index, token, -torch.inf) for token in p.stop_token_ids)
        if not entries:
            return None
        return Bias(
            rows=self.tensor([row for row, _, _ in entries]),
            tokens=self.tensor([token for _, token, _ in entries]),
            values=self._floats([value for _, _, value in entries]),
        )

    def _random(self, params: Sequence[SamplingParams], positions: Sequence[int]) -> RandomRows | None:
        index = [i for i, p in enumerate(params) if p.temperature >= GREEDY_BELOW]
        if not index:
            return None
        chosen = [params[i] for i in index]
        top_k = [min(p.top_k or self._vocab, self._vocab) for p in chosen]
        largest = max(top_k)
        return RandomRows(
            rows=None if len(index) == len(params) else self.tensor(index),
            temperature=self._floats([p.temperature for p in chosen]),
            seeds=self.tensor([signed(p.seed) for p in chosen]),
            positions=self.tensor([positions[i] for i in index]),
            top_k=self.tensor(top_k) if min(top_k) < self._vocab else None,
            largest_top_k=largest,
            top_p=self._floats([p.top_p for p in chosen]) if any(p.top_p < 1 for p in chosen) else None,
            min_p=self._floats([p.min_p for p in chosen]) if any(p.min_p > 0 for p in chosen) else None,
        )

    def tensor(self, values: Sequence[int]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.int64), device=self._device)

    def _floats(self, values: Sequence[float]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.float32), device=self._device)


def _special(params: SamplingParams) -> bool:
    return (
        _penalised(params)
        or bool(params.logit_bias)
        or params.logprobs is not None
        or bool(params.min_tokens and params.stop_token_ids)
        or (params.temperature >= GREEDY_BELOW and (params.top_k > 0 or params.top_p < 1 or params.min_p > 0))
    )


def _penalised(params: SamplingParams) -> bool:
    return (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) != (0, 0, 1)
