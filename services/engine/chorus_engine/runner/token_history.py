"""What rows with penalties have in their prompts and outputs."""

import torch
from torch import Tensor

from chorus_engine.core.plan import Admission
from chorus_engine.runner.transfer import upload


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

    def count(self, rows: Tensor, tokens: Tensor, counted: Tensor | None = None) -> None:
        """counted: [rows] bool, of which rows; None is all."""
        counts, _ = self._get()
        times = torch.ones_like(tokens, dtype=torch.int32) if counted is None else counted.to(torch.int32)
        counts.index_put_((rows, tokens), times, accumulate=True)

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
