"""What the scheduler knows of one request, from `add` to its end."""

import sys
from dataclasses import dataclass

from chorus_engine.core.draft import NO_DRAFT, Draft
from chorus_engine.core.plan import Admission, Reading, RowStep
from chorus_engine.core.request import FinishReason, Output, Request, SampledToken, Timing, Usage

NO_ROW = -1
NEAR_END = 5  # tokens; a request this close to its end is spared from preemption
NEVER = sys.maxsize  # a position that no sequence reaches
LOGPROBS_AT_ONCE = 512  # tokens of a prompt in a step: each costs as much as a token drawn, and a part of a frame


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a request could not enter the last time."""

    lack: int  # blocks that it would have taken, less those that were free
    freed: int  # BlockPool.freed then
    next_name: bytes | None  # the first of its blocks that was not found


class Sequence:
    """Tokens are known (`prompt`, `produced`) or pending: asked of a step whose result is not committed yet.

    Its *order* says who goes first, and who is preempted first (the greatest).
    """

    __slots__ = (
        "_computed",
        "_first_scheduled",
        "_first_token",
        "_read",
        "_stop",
        "_untold",
        "accepted",
        "active",
        "blocks",
        "cached",
        "drafted",
        "entered",
        "finish",
        "host",
        "in_flight",
        "known",
        "limit",
        "names",
        "order",
        "pending",
        "produced",
        "reading",
        "request",
        "room",
        "row",
        "scheduled",
        "seal_at",
        "short",
        "slot",
    )

    def __init__(self, request: Request, serial: int) -> None:
        self.request = request
        self.order = (request.band, request.counter, request.arrival, serial)
        self.produced: list[int] = []
        self.known = len(request.prompt)  # tokens, prompt and produced
        self.pending = 0  # tokens being sampled
        # Tokens, known and pending. Who wants none draws one all the same, which nobody hears of.
        self.limit = self.known + max(1, request.sampling.max_tokens)
        self.scheduled = 0  # positions computed or being computed; while waiting, those that the host keeps
        self.in_flight = 0  # steps launched and not committed that have a row of this request
        self.row = NO_ROW
        self.active = False  # holds a row and takes further steps
        self.slot: int | None = None  # adapter slot leased
        self.entered = 0.0  # when it got the row that it holds
        self.finish: FinishReason | None = None
        self.drafted = 0  # tokens guessed ahead and verified
        self.accepted = 0  # of those, tokens of the answer
        self.reading = request.reads_prompt  # until all that is wanted of the prompt's tokens has come
        # The rest of the public fields is KvMemory's.
        self.blocks: list[int] = []
        self.room = 0  # positions that the blocks hold
        self.host: tuple[int, ...] = ()  # host blocks that keep what was computed, while waiting
        self.names: list[bytes] = []  # of the first full blocks, as far as anybody asked
        self.seal_at = NEVER  # where the first block without a name ends
        self.short: Shortage | None = None
        self.cached: int | None = None  # prompt tokens found when first admitted
        self._untold = 0  # blocks at the end of the table that the runner does not know yet
        self._computed = 0  # tokens, all admissions together
        self._read = 1  # prompt tokens told of; the first has no past
        self._stop = frozenset(request.sampling.stop_token_ids)
        self._first_scheduled: float | None = None
        self._first_token: float | None = None

    @property
    def left(self) -> int:
        """Tokens that may still be asked for."""
        return self.limit - self.known - self.pending

    @property
    def remaining(self) -> int:
        """Positions that can be scheduled now: a prompt's rest, or the one last token, known or pending."""
        wanted = self.known + self.pending
        return wanted - self.scheduled if wanted < self.limit else 0

    @property
    def at_once(self) -> int:
        """Positions that one step may compute."""
        return LOGPROBS_AT_ONCE if self.reading and self.request.pooling is None else NEVER

    @property
    def cramped(self) -> bool:
        """Whether blocks are missing for what can be scheduled now."""
        return self.room < self.known + self.pending < self.limit

    @property
    def decodes(self) -> bool:
        """Whether its next step computes one token, and drafts after it could be of use."""
        return self.remaining == 1 and self.left > 1 and bool(self.produced) and not self.cramped

    @property
    def near_end(self) -> bool:
        return self.left <= NEAR_END

    def tokens(self, start: int, stop: int) -> tuple[int, ...]:
        """Known tokens at positions [start, stop)."""
        prompt = self.request.prompt
        if stop <= len(prompt):
            return prompt[start:stop]
        return (*prompt[start:], *self.produced[max(0, start - len(prompt)) : stop - len(prompt)])

    def fill(self, blocks: tuple[int, ...], filled: int, start: int, block_size: int) -> None:
        """A table on admission: `filled` blocks hold positions [0, start) already."""
        if self.cached is None:
            self.cached = start
        self.blocks = list(blocks)
        self.room = len(blocks) * block_size
        self.scheduled = start
        self.short = None
        self._untold = len(blocks) - filled

    def grow(self, blocks: tuple[int, ...], block_size: int) -> None:
        self.blocks.extend(blocks)
        self.room += len(blocks) * block_size
        self._untold += len(blocks)

    def enter(self, row: int, slot: int | None, now: float) -> None:
        self.row = row
        self.slot = slot
        self.entered = now
        if self._first_scheduled is None:
            self._first_scheduled = now

    def admission(self, base_slot: int) -> Admission:
        request = self.request
        return Admission(
            row=self.row,
            request_id=request.id,
            token_ids=request.prompt + tuple(self.produced),
            prompt_len=len(request.prompt),
            slot=base_slot if self.slot is None else self.slot,
            sampling=request.sampling,
            blocks=tuple(self.blocks[: len(self.blocks) - self._untold]),
            pooling=request.pooling,
        )

    def advance(self, count: int, draft: Draft = NO_DRAFT) -> RowStep:
        """Schedule the next `count` positions; the last of what remains asks for a token. What is behind it of a draft
        counts as computed once it is accepted."""
        start = self.scheduled
        self.scheduled = start + count
        sample = self.scheduled == self.known + self.pending
        new_blocks: tuple[int, ...] = ()
        if self._untold:
            new_blocks = tuple(self.blocks[len(self.blocks) - self._untold :])
            self._untold = 0
        self.pending += sample
        self.in_flight += 1
        if draft is not NO_DRAFT:
            count += len(draft)
        self._computed += count
        read = self.reading and start < len(self.request.prompt)
        return RowStep(self.row, start, count, new_blocks, sample, read, draft.tokens, draft.guesses)

    def receive(self, step: RowStep, sampled: tuple[SampledToken, ...], now: float) -> tuple[SampledToken, ...]:
        """Commit one row: the tokens that count, up to the one that ends the request. May set `finish`."""
        self.in_flight -= 1
        self.pending -= step.sample
        if step.drafts or step.guesses:
            self.drafted += step.drafted
        if self.finish is not None or not sampled:
            return ()
        if self._first_token is None:
            self._first_token = now
        if not self.request.sampling.max_tokens:
            self.finish = FinishReason.LENGTH
            return ()
        for count, token in enumerate(sampled, 1):
            self.produced.append(token.token_id)
            self.known += 1
            if count > 1:  # the one before it was a draft, and is computed
                self.scheduled += 1
                self.accepted += 1
            if token.ends or self.known == self.limit or token.token_id in self._stop:
                self.finish = self._ending(token)
                if self.finish is not None:
                    return sampled[:count]
        return sampled

    def read(self, step: RowStep, reading: Reading) -> tuple[SampledToken, ...]:
        """Commit what a row's step read of the prompt: what was not told before a preemption. Before `receive`."""
        if self.finish is not None:
            return ()
        end = step.start + 1 + len(reading.logprobs)
        fresh = reading.logprobs[max(0, self._read - step.start - 1) :]
        self._read = max(self._read, end)
        if step.start + step.count >= len(self.request.prompt):
            self.reading = False
        return fresh

    def leave(self, host: tuple[int, ...] = ()) -> None:
        """Row, blocks and slot are given back. A preempted request goes on from what the host keeps, or begins anew."""
        assert not self.in_flight, f"request {self.request.id} leaves with {self.in_flight} steps in flight"
        assert not self.pending
        self.row = NO_ROW
        self.slot = None
        self.blocks = []
        self.room = 0
        self.host = host
        self.seal_at = NEVER
        self._untold = 0
        if not host:
            self.scheduled = 0

    def output(
        self,
        now: float,
        tokens: tuple[SampledToken, ...] = (),
        error: Exception | None = None,
        prompt: tuple[SampledToken, ...] = (),
        embedding: bytes = b"",
    ) -> Output:
        if self.finish is None:
            first = 0 < len(tokens) == len(self.produced)
            usage = self._usage() if first or self.drafted else None
            return Output(self.request.id, tokens, usage=usage, prompt=prompt)
        return Output(self.request.id, tokens, self.finish, error, self._usage(), self._timing(now), prompt, embedding)

    def _ending(self, token: SampledToken) -> FinishReason | None:
        """What the last token produced means: the constraint's end, a stop token or the last one allowed."""
        stops = token.token_id in self._stop and len(self.produced) > self.request.sampling.min_tokens
        if token.ends or stops:
            return FinishReason.STOP
        return FinishReason.LENGTH if self.known == self.limit else None

    def _usage(self) -> Usage:
        return Usage(
            len(self.request.prompt), len(self.produced), self.cached or 0, self._computed, self.drafted, self.accepted
        )

    def _timing(self, now: float) -> Timing:
        scheduled = now if self._first_scheduled is None else self._first_scheduled
        first = now if self._first_token is None else self._first_token
        return Timing(max(0.0, scheduled - self.request.arrival), first - scheduled, now - first)
