"""Beam search, as clients send it: `use_beam_search` with `best_of` or `n` as its width."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from chorus_gateway.api.schemas import MAX_CHOICES, GenerationRequest
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import BeamSearch, EarlyStopping

MAX_BEAMS = 32
_EARLY: Mapping[bool | str, EarlyStopping] = {
    False: EarlyStopping.GUESS,
    True: EarlyStopping.AT_ONCE,
    "never": EarlyStopping.NEVER,
}
_PENALTIES = {"presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1}


class BeamRequest(GenerationRequest):
    use_beam_search: bool | None = Field(None, description="The likeliest answers instead of draws.")
    best_of: int | None = Field(
        None, ge=1, le=MAX_CHOICES, description="Answers that are made to each prompt; the `n` likeliest are told."
    )
    length_penalty: float | None = Field(
        None, ge=-10, le=10, description="Of beams: an answer's score is its log probability / length ** this."
    )
    early_stopping: Literal[True, False, "never"] | None = Field(None, description="Of beams, as in transformers.")

    @property
    def made(self) -> int:
        """Answers to each prompt."""
        return self.best_of or self.n or 1

    def beams(self) -> BeamSearch | None:
        if not self.use_beam_search:
            return None
        penalty = 1.0 if self.length_penalty is None else self.length_penalty
        return BeamSearch(self.made, penalty, _EARLY[self.early_stopping or False])

    def check(self, unsupported: Mapping[str, tuple[Any, ...]]) -> None:
        super().check(unsupported)
        if not self.use_beam_search:
            return
        if self.stream:
            raise InvalidRequest(
                "stream: the answers of a beam search are known at its end alone: leave stream out.", param="stream"
            )
        self._check_width()
        for name, plain in _PENALTIES.items():
            if getattr(self, name) not in (None, plain):
                raise InvalidRequest(f"{name}: a beam search knows no penalties: leave it out.", param=name)
        if self.logit_bias:
            raise InvalidRequest("logit_bias: a beam search knows no biases: leave it out.", param="logit_bias")

    def _check_width(self) -> None:
        least, param = self.n or 1, "n" if self.best_of is None else "best_of"
        if self.made < least:
            raise InvalidRequest(f"best_of: {self.made} is below n, which is {least}: ask for more.", param=param)
        if self.made > MAX_BEAMS:
            raise InvalidRequest(
                f"{param}: {self.made} beams were asked for, and at most {MAX_BEAMS} are allowed: ask for fewer.",
                param=param,
            )
