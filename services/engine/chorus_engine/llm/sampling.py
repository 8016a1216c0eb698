import secrets
from dataclasses import dataclass

from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import InvalidRequest
from chorus_engine.core.request import MAX_SPECULATION, BeamParams, SamplingParams

SEEDS = 1 << 64
MAX_BEAMS = 32
MAX_LENGTH_PENALTY = 10.0
NOT_SEARCHED = {
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "logit_bias": (),
    "constraint": None,
    "prompt_logprobs": None,
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; the fields mean what they mean over HTTP."""

    max_tokens: int = 256  # 0: the prompt is computed and nothing produced
    min_tokens: int = 0
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 is off
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, added to its logit)
    seed: int | None = None  # None: drawn; prompt i has seed + i
    stop: tuple[str, ...] = ()  # strings that end an answer and are not part of it
    stop_token_ids: tuple[int, ...] = ()  # part of the answer
    ignore_eos: bool = False
    logprobs: int | None = None  # None: none; n: each token's and the n likeliest tokens'
    prompt_logprobs: int | None = None  # likewise, of the prompt's tokens
    constraint: Constraint | None = None  # what answers must be
    speculation: int | None = None  # tokens guessed ahead a step, at most 16; 0: none; None: as many as pay
    beams: BeamParams | None = None  # instead of a draw the likeliest answers, the best first

    def __post_init__(self) -> None:
        self._check("max_tokens", self.max_tokens >= 0, "0 or above")
        self._check("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "0 to max_tokens")
        self._check("temperature", 0 <= self.temperature < float("inf"), "0 or above, and finite")
        self._check("top_k", self.top_k >= 0, "0 or above")
        self._check("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._check("min_p", 0 <= self.min_p <= 1, "from 0 to 1")
        self._check("repetition_penalty", self.repetition_penalty > 0, "above 0")
        self._check("stop", all(self.stop), "without empty strings")
        drafts = self.speculation
        self._check("speculation", drafts is None or 0 <= drafts <= MAX_SPECULATION, f"from 0 to {MAX_SPECULATION}")
        if self.beams is not None:
            self._check_beams(self.beams)

    def _check_beams(self, beams: BeamParams) -> None:
        self._check("beams", 1 <= beams.width <= MAX_BEAMS, f"with a width from 1 to {MAX_BEAMS}")
        penalty = f"with a length_penalty from -{MAX_LENGTH_PENALTY} to {MAX_LENGTH_PENALTY}"
        self._check("beams", abs(beams.length_penalty) <= MAX_LENGTH_PENALTY, penalty)
        self._check("max_tokens", self.max_tokens >= 1, "at least 1 with beams")
        for name, plain in NOT_SEARCHED.items():
            if getattr(self, name) != plain:
                raise InvalidRequest(f"{name} is given with beams, which know nothing of it; leave it out.")

    def _check(self, name: str, good: bool, range_in_words: str) -> None:
        if not good:
            raise InvalidRequest(f"{name} is {getattr(self, name)}; it must be {range_in_words}.")

    def params(self, index: int, eos_token_ids: tuple[int, ...]) -> SamplingParams:
        """Of the call's prompt `index`."""
        stops = {*self.stop_token_ids, *(() if self.ignore_eos else eos_token_ids)}
        return SamplingParams(
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
            seed=secrets.randbits(64) if self.seed is None else (self.seed + index) % SEEDS,
            stop_token_ids=tuple(sorted(stops)),
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            constraint=self.constraint,
            speculation=self.speculation,
        )
