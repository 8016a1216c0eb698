"""What is wanted of prompts beside their keys and values: embeddings, and the log probabilities of their tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from chorus_engine.core.plan import Admission, Reading, RowStep
from chorus_engine.core.request import Pooling, SampledToken
from chorus_engine.runner.network import Computed, Whole
from chorus_engine.runner.streams import Mark
from chorus_engine.runner.transfer import download, upload
from chorus_kernels.sampling import top_logprobs

PIECE = 64  # tokens whose logits are in memory at once
PADDING = 16  # as rows that draw are padded to, so that the head has no sizes of its own

Logits = Callable[[Tensor, int], Tensor]  # (normed [tokens, hidden], the row whose adapter it is) → [tokens, vocab]


class Reader:
    """Rows that want nothing cost nothing."""

    def __init__(self, rows: int, hidden: int, token_ids: Tensor, logits: Logits) -> None:
        """token_ids: [rows, positions], those of the row table."""
        self._rows: dict[int, Admission] = {}  # by row
        self._token_ids = token_ids
        self._logits = logits
        self._shape = (rows, hidden)
        self._sums: Tensor | None = None  # [rows, hidden] float32 of what was read; made when the first row needs it

    def admit(self, admission: Admission) -> None:
        if admission.pooling is not None or admission.sampling.prompt_logprobs is not None:
            self._rows[admission.row] = admission

    def release(self, row: int) -> None:
        self._rows.pop(row, None)

    def wants(self, steps: Sequence[RowStep]) -> bool:
        """Whether the last hidden states of all tokens of some row are wanted."""
        return bool(self._rows) and any(step.read for step in steps)

    def read(self, steps: Sequence[RowStep], computed: Computed | None) -> "Reads | None":
        """Of one step; None where nothing is wanted."""
        if computed is None or not self._rows or self._rows.keys().isdisjoint(step.row for step in steps):
            return None
        means = self._means(steps, computed.whole)
        lasts = self._lasts(steps, computed)
        logprobs = self._logprobs(steps, computed.whole)
        return Reads([vectors for vectors in (means, lasts) if vectors is not None], logprobs, self._token_ids.device)

    def _lasts(self, steps: Sequence[RowStep], computed: Computed) -> "_Vectors | None":
        chosen = [
            (place, index)
            for place, index in enumerate(computed.sampling)
            if (wanted := self._rows.get(steps[index].row)) is not None and wanted.pooling is Pooling.LAST
        ]
        if not chosen:
            return None
        values = computed.normed.index_select(0, self._index([place for place, _ in chosen]))
        return _Vectors([index for _, index in chosen], _unit(values.float()))

    def _means(self, steps: Sequence[RowStep], whole: Whole | None) -> "_Vectors | None":
        """Adds what the step has of each prompt; the last step of a prompt makes it a vector."""
        if whole is None:
            return None
        chosen = [
            (place, index)
            for place, index in enumerate(whole.order)
            if steps[index].read and self._rows[steps[index].row].pooling is Pooling.MEAN
        ]
        if not chosen:
            return None
        if self._sums is None:
            self._sums = torch.zeros(self._shape, device=self._token_ids.device)
        rows = self._index([steps[index].row for _, index in chosen])
        sums = _sums(whole).index_select(0, self._index([place for place, _ in chosen]))
        begun = torch.tensor([steps[index].start > 0 for _, index in chosen], dtype=torch.float32)
        sums += self._sums.index_select(0, rows) * upload(begun, device=sums.device)[:, None]
        self._sums.index_copy_(0, rows, sums)
        complete = [at for at, (_, index) in enumerate(chosen) if steps[index].sample]
        if not complete:
            return None
        # A mean and a sum have the same direction.
        return _Vectors([chosen[at][1] for at in complete], _unit(sums.index_select(0, self._index(complete))))

    def _logprobs(self, steps: Sequence[RowStep], whole: Whole | None) -> "list[_Logprobs]":
        found: list[_Logprobs] = []
        begin = 0
        for index, count in zip(whole.order, whole.counts, strict=True) if whole is not None else ():
            step = steps[index]
            if step.read and (most := self._rows[step.row].sampling.prompt_logprobs) is not None:
                last = self._rows[step.row].prompt_len - 1  # nothing of the prompt comes after it
                assert whole is not None
                for start in range(step.start, min(step.start + count, last), PIECE):
                    stop = min(start + PIECE, step.start + count, last)
                    tensors = self._piece(whole.normed, begin + start - step.start, step.row, start, stop, most)
                    found.append(_Logprobs(index, most, tensors))
            begin += count
        return found

    def _piece(
        self, normed: Tensor, place: int, row: int, start: int, stop: int, most: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the tokens after positions [start, stop) are and were given. place: of `start` in normed."""
        count = stop - start
        padded = -(-count // PADDING) * PADDING if normed.is_cuda else count
        places = torch.arange(place, place + padded, device=normed.device).clamp_(max=place + count - 1)
        logits = self._logits(normed.index_select(0, places), row)[:count]
        tokens = self._token_ids[row, start + 1 : stop + 1].long()
        drawn, top, ids = top_logprobs(logits, tokens, min(most, logits.shape[1]))
        return tokens, drawn, top, ids

    def _index(self, values: Sequence[int]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.int64), device=self._token_ids.device)


@dataclass(frozen=True, slots=True)
class _Vectors:
    rows: list[int]  # indices in the plan
    values: Tensor  # [rows, hidden] float32, of length 1


@dataclass(frozen=True, slots=True)
class _Logprobs:
    row: int  # index in the plan
    most: int  # likeliest tokens wanted
    tensors: tuple[Tensor, ...]  # tokens, their log probabilities, the likeliest ones' and which these are


class Reads:
    """On their way to the host; `result` waits for them and makes them values."""

    def __init__(self, vectors: list[_Vectors], logprobs: list[_Logprobs], device: torch.device) -> None:
        self._vectors = [_Vectors(each.rows, download(each.values)) for each in vectors]
        self._logprobs = [_Logprobs(each.row, each.most, tuple(map(download, each.tensors))) for each in logprobs]
        self._ready = Mark(device)

    def result(self) -> tuple[Reading, ...]:
        self._ready.wait()
        embeddings: dict[int, bytes] = {}
        for each in self._vectors:
            values = each.values.numpy().astype("<f4", copy=False)
            embeddings.update((row, values[place].tobytes()) for place, row in enumerate(each.rows))
        tokens: dict[int, list[SampledToken]] = {}
        for piece in self._logprobs:
            tokens.setdefault(piece.row, []).extend(_tokens(piece))
        readings = [Reading(row, embedding=embedding) for row, embedding in embeddings.items()]
        return (*readings, *(Reading(row, tuple(told)) for row, told in tokens.items()))


def _tokens(piece: _Logprobs) -> list[SampledToken]:
    tokens, drawn, top, ids = (tensor.tolist() for tensor in piece.tensors)
    return [
        SampledToken(token, logprob, tuple(zip(likeliest[: piece.most], logprobs[: piece.most], strict=True)))
        for token, logprob, logprobs, likeliest in zip(tokens, drawn, top, ids, strict=True)
    ]


def _sums(whole: Whole) -> Tensor:
    """Of each row's tokens: [rows, hidden] float32."""
    lengths = torch.tensor(whole.counts, dtype=torch.int64)
    values = whole.normed[: sum(whole.counts)].float()
    return torch.segment_reduce(values, "sum", lengths=upload(lengths, device=values.device), unsafe=True)


def _unit(values: Tensor) -> Tensor:
    return F.normalize(values, dim=-1)
