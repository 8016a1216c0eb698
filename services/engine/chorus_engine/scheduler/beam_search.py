"""One beam search, decided as transformers decides it: pure, over the likeliest tokens of each path's end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from typing import NamedTuple

from chorus_engine.core.request import Beam, BeamParams, EarlyStopping, FinishReason, SampledToken, SamplingParams


@dataclass(frozen=True, slots=True)
class Path:
    """Tokens after the prompt that may go on."""

    tokens: tuple[SampledToken, ...] = ()
    logprob: float = 0.0  # of all of them

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.token_id for token in self.tokens)


class _Candidate(NamedTuple):
    logprob: float
    origin: int
    token: SampledToken


class BeamSearch:
    """In each round every path's likeliest next tokens are candidates. Of all candidates the best `width` may end, by a
    stop token or as the last ones allowed, and are kept if they score among the best; the best that do not end go on.
    """

    def __init__(self, params: BeamParams, sampling: SamplingParams) -> None:
        """Of `sampling`: lengths, stops and how many likeliest tokens are told."""
        self.paths: tuple[Path, ...] = (Path(),)
        self.beams: tuple[Beam, ...] = ()  # that have ended, the best first
        self.done = False
        self._params = params
        self._sampling = sampling
        self._stops = frozenset(sampling.stop_token_ids)
        self._length = 0  # tokens of every path

    @property
    def breadth(self) -> int:
        """Likeliest tokens to be known of each path: whatever ends, enough go on."""
        return max(self._params.width + len(self._stops), self._sampling.logprobs or 0)

    def advance(self, sampled: Sequence[SampledToken]) -> None:
        """One round: the token at the end of each path, of which `top` is read, `breadth` of them."""
        self._length += 1
        last = self._length == self._sampling.max_tokens
        candidates = self._candidates(sampled)
        for candidate in candidates[: self._params.width]:
            if last or candidate.token.token_id in self._stops:
                self._keep(candidate)
        going = (each for each in candidates if each.token.token_id not in self._stops)
        self.paths = tuple(self._follow(each) for each in islice(going, self._params.width)) if not last else ()
        self.done = not self.paths or self._is_enough()

    def _candidates(self, sampled: Sequence[SampledToken]) -> list[_Candidate]:
        """The best first."""
        spared = self._stops if self._length <= self._sampling.min_tokens else frozenset[int]()
        told = self._sampling.logprobs
        found = [
            (path.logprob + logprob, -origin, token_id, logprob)
            for origin, (path, token) in enumerate(zip(self.paths, sampled, strict=True))
            for token_id, logprob in token.top
            if token_id not in spared
        ]
        best = nlargest(self._params.width + len(self._stops) * len(self.paths), found)
        return [
            _Candidate(total, -origin, _token(token_id, logprob, sampled[-origin], told))
            for total, origin, token_id, logprob in best
        ]

    def _keep(self, candidate: _Candidate) -> None:
        path = self._follow(candidate)
        stops = candidate.token.token_id in self._stops
        beam = Beam(path.tokens, FinishReason.STOP if stops else FinishReason.LENGTH, self._score(path.logprob))
        self.beams = tuple(sorted((*self.beams, beam), key=lambda each: -each.score)[: self._params.width])

    def _follow(self, candidate: _Candidate) -> Path:
        tokens = (*self.paths[candidate.origin].tokens, candidate.token)
        return Path(tokens, candidate.logprob)

    def _is_enough(self) -> bool:
        """Whether going on is of no use, or not wanted."""
        if len(self.beams) < self._params.width:
            return False
        if self._params.early_stopping is EarlyStopping.AT_ONCE:
            return True
        longest = self._params.early_stopping is EarlyStopping.NEVER and self._params.length_penalty > 0
        length = self._sampling.max_tokens if longest else self._length
        return self._score(self.paths[0].logprob, length) <= self.beams[-1].score

    def _score(self, logprob: float, length: int | None = None) -> float:
        return logprob / math.pow(length or self._length, self._params.length_penalty)


def _token(token_id: int, logprob: float, sampled: SampledToken, told: int | None) -> SampledToken:
    """As it would have been drawn; with as many of the likeliest tokens as are to be told of."""
    return SampledToken(token_id, None if told is None else logprob, sampled.top[: told or 0])
