"""What the scheduler knows of one request, from `add` to its end."""

from chorus_engine.core.plan import Admission, RowStep
from chorus_engine.core.request import FinishReason, Output, Request, SampledToken, Timing, Usage

NO_ROW = -1
NEAR_END = 5  # tokens; a request this close to its end is spared from preemption


class Sequence:
    """Tokens are known (`prompt`, `produced`) or pending: asked of a step whose result is not committed yet.

    Its *order* says who goes first, its *age* who is preempted first (the greatest).
    """

    def __init__(self, request: Request, serial: int) -> None:
        self.request = request
        self.order = (request.band, request.counter, request.arrival, serial)
        self.age = (request.band, request.arrival, serial)
        self.produced: list[int] = []
        self.known = len(request.prompt)  # tokens, prompt and produced
        self.pending = 0  # tokens being sampled
        self.scheduled = 0  # positions computed or being computed since the last admission
        self.in_flight = 0  # steps launched and not committed that have a row of this request
        self.row = NO_ROW
        self.active = False  # holds a row and takes further steps
        self.slot: int | None = None  # adapter slot leased
        self.blocks: list[int] = []
        self.finish: FinishReason | None = None
        self._untold = 0  # blocks at the end of the table that the runner does not know yet
        self._computed = 0  # tokens, all admissions together
        self._stop = frozenset(request.sampling.stop_token_ids)
        self._first_scheduled: float | None = None
        self._first_token: float | None = None

    @property
    def left(self) -> int:
        """Tokens that may still be asked for."""
        return self.request.sampling.max_tokens - len(self.produced) - self.pending

    @property
    def remaining(self) -> int:
        """Positions that can be scheduled now: a prompt's rest, or the one last token, known or pending."""
        return self.known + self.pending - self.scheduled if self.left else 0

    @property
    def near_end(self) -> bool:
        return self.left <= NEAR_END

    def blocks_missing(self, block_size: int) -> int:
        """Blocks wanted for all that can be scheduled now."""
        lack = self.known + self.pending - len(self.blocks) * block_size  # tokens
        return -(-lack // block_size) if lack > 0 and self.left else 0

    def grow(self, blocks: tuple[int, ...]) -> None:
        self.blocks.extend(blocks)
        self._untold += len(blocks)

    def enter(self, row: int, slot: int | None, now: float) -> None:
        self.row = row
        self.slot = slot
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
        )

    def advance(self, count: int) -> RowStep:
        """Schedule the next `count` positions; the last of what remains asks for a token."""
        sample = count == self.remaining
        new_blocks = tuple(self.blocks[len(self.blocks) - self._untold :])
        step = RowStep(self.row, self.scheduled, count, new_blocks, sample)
        self._untold = 0
        self.scheduled += count
        self.pending += sample
        self.in_flight += 1
        self._computed += count
        return step

    def receive(self, step: RowStep, sampled: tuple[SampledToken, ...], now: float) -> tuple[SampledToken, ...]:
        """Commit one row: the tokens that count, up to the one that ends the request. May set `finish`."""
        self.in_flight -= 1
        self.pending -= step.sample
        if self.finish is not None:
            return ()
        for index, token in enumerate(sampled):
            self.produced.append(token.token_id)
            self.known += 1
            self.finish = self._ending(token.token_id)
            if self.finish is not None:
                sampled = sampled[: index + 1]
                break
        if sampled and self._first_token is None:
            self._first_token = now
        return sampled

    def leave(self) -> None:
        """The row, blocks and slot are given back; a preempted request begins anew with what it has produced."""
        assert not self.in_flight, f"request {self.request.id} leaves with {self.in_flight} steps in flight"
        assert not self.pending
        self.row = NO_ROW
        self.slot = None
        self.blocks = []
        self.scheduled = 0
        self._untold = 0

    def output(self, now: float, tokens: tuple[SampledToken, ...] = (), error: Exception | None = None) -> Output:
        if self.finish is None:
            return Output(self.request.id, tokens)
        return Output(self.request.id, tokens, self.finish, error, self._usage(), self._timing(now))

    def _ending(self, token_id: int) -> FinishReason | None:
        sampling = self.request.sampling
        if token_id in self._stop and len(self.produced) > sampling.min_tokens:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.produced) >= sampling.max_tokens else None

    def _usage(self) -> Usage:
        return Usage(len(self.request.prompt), len(self.produced), computed_tokens=self._computed)

    def _timing(self, now: float) -> Timing:
        scheduled = now if self._first_scheduled is None else self._first_scheduled
        first = now if self._first_token is None else self._first_token
        return Timing(max(0.0, scheduled - self.request.arrival), first - scheduled, now - first)
