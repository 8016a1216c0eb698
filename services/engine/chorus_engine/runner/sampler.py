"""Every row's way of drawing tokens, and one batched draw a step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from chorus_engine.core.plan import Admission, RowStep
from chorus_engine.core.request import SampledToken, SamplingParams
from chorus_engine.runner.network import Computed
from chorus_engine.runner.rows import GREEDY_BELOW, signed
from chorus_engine.runner.streams import Mark
from chorus_engine.runner.transfer import download, upload
from chorus_kernels.sampling import Bias, Penalties, RandomRows, SamplingBatch, draw, sample, top_logprobs


class Sampler:
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

    def warm_up(self, logits: Tensor) -> None:
        """logits: [rows, vocab] on CUDA."""
        rows = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        draw(logits, rows.float(), rows, rows)

    def draw(self, logits: Tensor, computed: Computed, steps: Sequence[RowStep]) -> "Drawn":
        """logits: [rows of computed, vocab]; steps: the plan's. Padding gets tokens too, which nobody reads."""
        chosen = [steps[index] for index in computed.sampling]
        rows = [step.row for step in chosen]
        if not self._special.isdisjoint(rows) or not logits.is_cuda:
            return self._draw_special(logits[: len(rows)], rows, [step.start + step.count for step in chosen])
        tokens = draw(logits, computed.temperature, computed.seeds, computed.positions)
        return Drawn(tokens, len(rows))

    def _draw_special(self, logits: Tensor, rows: Sequence[int], positions: Sequence[int]) -> "Drawn":
        """With filters, penalties, bias and log probabilities. positions: those of the tokens to be drawn."""
        params = [self._row(row) for row in rows]
        batch = SamplingBatch(
            penalties=self._penalties(params, rows),
            bias=self._bias(params, rows, positions),
            random=self._random(params, positions),
        )
        tokens = sample(logits, batch)
        if batch.penalties is not None:
            penalised = batch.penalties.rows
            self._history.count(self._tensor(rows)[penalised], tokens[penalised])
        wanted = [(i, p.logprobs) for i, p in enumerate(params) if p.logprobs is not None]
        if not wanted:
            return Drawn(tokens, len(rows))
        index = self._tensor([i for i, _ in wanted])
        most = min(max(count for _, count in wanted), self._vocab)
        return Drawn(tokens, len(rows), wanted, top_logprobs(logits[index], tokens[index], most))

    def _row(self, row: int) -> SamplingParams:
        params = self._params[row]
        assert params is not None, f"row {row} samples but was never admitted"
        return params

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.int64), device=self._device)

    def _floats(self, values: Sequence[float]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.float32), device=self._device)

    def _penalties(self, params: Sequence[SamplingParams], rows: Sequence[int]) -> Penalties | None:
        index = [i for i, p in enumerate(params) if _penalised(p)]
        if not index:
            return None
        chosen = [params[i] for i in index]
        counts, in_prompt = self._history.of(self._tensor([rows[i] for i in index]))
        return Penalties(
            rows=self._tensor(index),
            presence=self._floats([p.presence_penalty for p in chosen]),
            frequency=self._floats([p.frequency_penalty for p in chosen]),
            repetition=self._floats([p.repetition_penalty for p in chosen]),
            output_counts=counts,
            in_prompt=in_prompt,
        )

    def _bias(self, params: Sequence[SamplingParams], rows: Sequence[int], positions: Sequence[int]) -> Bias | None:
        entries: list[tuple[int, int, float]] = []
        for index, (p, row, position) in enumerate(zip(params, rows, positions, strict=True)):
            entries.extend((index, token, value) for token, value in p.logit_bias)
            if position - self._prompt_len[row] < p.min_tokens:
                entries.extend((index, token, -torch.inf) for token in p.stop_token_ids)
        if not entries:
            return None
        return Bias(
            rows=self._tensor([row for row, _, _ in entries]),
            tokens=self._tensor([token for _, token, _ in entries]),
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
            rows=None if len(index) == len(params) else self._tensor(index),
            temperature=self._floats([p.temperature for p in chosen]),
            seeds=self._tensor([signed(p.seed) for p in chosen]),
            positions=self._tensor([positions[i] for i in index]),
            top_k=self._tensor(top_k) if min(top_k) < self._vocab else None,
            largest_top_k=largest,
            top_p=self._floats([p.top_p for p in chosen]) if any(p.top_p < 1 for p in chosen) else None,
            min_p=self._floats([p.min_p for p in chosen]) if any(p.min_p > 0 for p in chosen) else None,
        )


class TokenHistory:
    """Which tokens a row's prompt has and how often its output has each, for rows with penalties."""

    def __init__(self, rows: int, vocab: int, device: torch.device) -> None:
        self._shape = (rows, vocab)
        self._device = device
        self._tables: tuple[Tensor, Tensor] | None = None  # made when the first row needs them

    def admit(self, admission: Admission) -> None:
        counts, in_prompt = self._get()
        known = upload(torch.tensor(admission.token_ids, dtype=torch.int64), device=self._device)
        prompt, output = known[: admission.prompt_len], known[admission.prompt_len :]
        in_prompt[admission.row].zero_().index_fill_(0, prompt, True)
        counts[admission.row].zero_().index_add_(0, output, torch.ones_like(output, dtype=torch.int32))

    def count(self, rows: Tensor, tokens: Tensor) -> None:
        counts, _ = self._get()
        counts.index_put_((rows, tokens), torch.ones_like(tokens, dtype=torch.int32), accumulate=True)

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Output counts [rows, vocab] int32 and whether the prompt has each token [rows, vocab] bool."""
        counts, in_prompt = self._get()
        return counts[rows], in_prompt[rows]

    def _get(self) -> tuple[Tensor, Tensor]:
        if self._tables is None:
            self._tables = (
                torch.zeros(self._shape, dtype=torch.int32, device=self._device),
                torch.zeros(self._shape, dtype=torch.bool, device=self._device),
            )
        return self._tables


class Drawn:
    """The tokens of one draw, on their way to the host; `read` waits for them and makes them values."""

    def __init__(
        self,
        tokens: Tensor,
        count: int,
        wanted: Sequence[tuple[int, int]] = (),
        logprobs: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        self.tokens = tokens  # [rows] int64, padding included
        self._host_tokens = download(tokens[:count])
        self._wanted = wanted  # (row of the draw, how many likeliest), aligned with the rows of logprobs
        self._logprobs = None if logprobs is None else tuple(download(tensor) for tensor in logprobs)
        self._ready = Mark(tokens.device)

    def read(self) -> list[SampledToken]:
        self._ready.wait()
        sampled = [SampledToken(token) for token in self._host_tokens.tolist()]
        if self._logprobs is not None:
            drawn, top, ids = (tensor.tolist() for tensor in self._logprobs)
            for place, (index, count) in enumerate(self._wanted):
                likeliest = tuple(zip(ids[place][:count], top[place][:count], strict=True))
                sampled[index] = SampledToken(sampled[index].token_id, drawn[place], likeliest)
        return sampled


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
