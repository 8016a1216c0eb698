"""Beam searches: one request for who asks, many short ones for who computes.

In each round every path of a search is a request for one token, whose prompt is the path. It finds the path's blocks
in the prefix cache, where all paths share the full ones. Of those that go on from one path the first takes over its
last, partial block, and the others copy it. So paths need no memory of their own between rounds, and rows, blocks,
slots, preemption and order are those of any request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from chorus_engine.core.request import BeamParams, FinishReason, Output, Request, SamplingParams, Timing, Usage
from chorus_engine.scheduler.beam_search import BeamSearch


@dataclass(slots=True)
class Following:
    """What comes of some outputs."""

    told: list[Output] = field(default_factory=list)
    start: list[Request] = field(default_factory=list)  # the next rounds
    cancel: list[str] = field(default_factory=list)  # what ended searches need no more


class _Search:
    def __init__(self, request: Request, params: BeamParams) -> None:
        self.request = request
        self.search = BeamSearch(params, request.sampling)
        self.open: dict[str, int] = {}  # the round's requests that have not ended → which path
        self.ends: dict[int, Output] = {}  # of the round, by path
        self._first: Output | None = None
        self._drawn = self._computed = self._rounds = 0

    def next_round(self) -> list[Request]:
        self._rounds += 1
        names = [f"{self.request.id}\0{self._rounds}.{index}" for index in range(len(self.search.paths))]
        self.open = {name: index for index, name in enumerate(names)}
        self.ends = {}
        sampling = SamplingParams(max_tokens=1, temperature=0.0, logprobs=self.search.breadth)
        # The search has the deadline: deadlines of requests are remembered until they pass, and these are many.
        shared = replace(self.request, sampling=sampling, beams=None, deadline=None, goes_on=True)
        return [
            replace(shared, id=name, prompt=self.request.prompt + path.token_ids)
            for name, path in zip(names, self.search.paths, strict=True)
        ]

    def take(self, output: Output) -> None:
        self.ends[self.open.pop(output.request_id)] = output
        self._first = self._first or output
        if output.usage is not None:
            self._drawn += output.usage.completion_tokens
            self._computed += output.usage.computed_tokens

    def decide(self) -> None:
        self.search.advance([self.ends[index].tokens[0] for index in range(len(self.ends))])

    def progress(self) -> Output:
        return Output(self.request.id, usage=self._usage())

    def end(self, now: float, reason: FinishReason, error: Exception | None = None) -> Output:
        first = self._first.timing if self._first is not None else None
        timing = first or Timing()
        decode = max(0.0, now - self.request.arrival - timing.queued - timing.prefill)
        beams = self.search.beams if self.search.done else ()
        return Output(
            self.request.id,
            finish=reason,
            error=error,
            usage=replace(self._usage(), completion_tokens=sum(len(beam.tokens) for beam in beams)),
            timing=replace(timing, decode=decode),
            beams=beams,
        )

    def _usage(self) -> Usage:
        first = self._first.usage if self._first is not None else None
        return Usage(len(self.request.prompt), self._drawn, first.cached_tokens if first else 0, self._computed)


class BeamSearches:
    def __init__(self) -> None:
        self._searches: dict[str, _Search] = {}  # by the request's id
        self._open: dict[str, _Search] = {}  # by the id of a round's request

    def __len__(self) -> int:
        """Requests of rounds whose ends have not come."""
        return len(self._open)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._searches

    def begin(self, request: Request, params: BeamParams) -> list[Request]:
        """The first round's requests."""
        search = self._searches[request.id] = _Search(request, params)
        return self._next_round(search)

    def due(self, now: float) -> list[str]:
        """Searches whose time is over."""
        return [name for name, deadline in self._deadlines() if deadline <= now]

    def next_deadline(self) -> float | None:
        return min((deadline for _, deadline in self._deadlines()), default=None)

    def open(self, request_id: str) -> list[str]:
        """The requests by which a search waits. Who ends one of them for some reason ends it."""
        return list(self._searches[request_id].open)

    def follow(self, outputs: Sequence[Output], now: float) -> Following:
        """Outputs of rounds become their searches' own; others stay as they are."""
        found = Following()
        for output in outputs:
            search = self._open.get(output.request_id)
            if search is None:
                found.told.append(output)
            elif output.finish is not None:
                del self._open[output.request_id]
                self._take(search, output, now, found)
        return found

    def _take(self, search: _Search, output: Output, now: float, found: Following) -> None:
        search.take(output)
        if search.request.id not in self._searches:
            return  # it has ended, and this was cancelled
        if output.finish is not FinishReason.LENGTH:
            self._end(search, search.end(now, output.finish or FinishReason.ERROR, output.error), found)
        elif not search.open:
            search.decide()
            if search.search.done:
                self._end(search, search.end(now, FinishReason.STOP), found)
            else:
                found.told.append(search.progress())
                found.start += self._next_round(search)

    def _end(self, search: _Search, output: Output, found: Following) -> None:
        del self._searches[search.request.id]
        found.told.append(output)
        found.cancel += search.open

    def _next_round(self, search: _Search) -> list[Request]:
        requests = search.next_round()
        self._open.update((request.id, search) for request in requests)
        return requests

    def _deadlines(self) -> Iterable[tuple[str, float]]:
        for name, search in self._searches.items():
            if search.request.deadline is not None:
                yield name, search.request.deadline

    def check(self, live: Iterable[str]) -> None:
        """Every search waits by requests that live, or whose ends it has not heard of."""
        waiting = {name for search in self._searches.values() for name in search.open}
        assert waiting <= set(live)
        assert waiting <= self._open.keys()
        assert all(search.open for search in self._searches.values())
