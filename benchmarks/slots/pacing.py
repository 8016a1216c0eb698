"""Tokens of resident adapters while others load: the times between them, with loading going on and without.

Three runs a round, in turn: nothing but the resident streams; the same with short requests for resident adapters; the
same with as many requests, each for an adapter that has to be fetched. The second differs from the third in loading
alone.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import Figure
from benchmarks.gpu.recording import percentile
from benchmarks.slots.client import Answer, Client

RESIDENT = 4  # adapters, of two streams each
STREAM_TOKENS = 700
LOADS_A_SECOND = 10.0
MOST = 2.0  # times the 99th percentile without loading
QUIET, ASKING, LOADING = "quiet", "asking", "loading"


@dataclass(frozen=True, slots=True)
class Round:
    p99: dict[str, float]  # seconds, by kind of run
    p50: dict[str, float]
    loads: int  # requests for adapters that were not there

    def ratio(self, kind: str) -> float:
        return self.p99[LOADING] / self.p99[kind]


class Pacing:
    """`residents` and `cold` are model names; cold ones are taken in turn, many more than memory keeps."""

    def __init__(self, client: Client, residents: Sequence[str], cold: Sequence[str], *, tokens: int = STREAM_TOKENS):
        self._client = client
        self._residents = residents
        self._cold = itertools.cycle(cold)
        self._tokens = tokens
        self._draw = random.Random(1)

    async def rounds(self, count: int, note: Callable[[str], None]) -> list[Round]:
        found = []
        for number in range(count):
            p99, p50, loads = {}, {}, 0
            for kind in (QUIET, ASKING, LOADING):
                note(f"round {number + 1} of {count}: {kind}")
                gaps, asked = await self._run(kind)
                p99[kind], p50[kind] = percentile(gaps, 0.99), median(gaps)
                loads = asked
            found.append(Round(p99, p50, loads))
        return found

    async def _run(self, kind: str) -> tuple[list[float], int]:
        """Gaps between tokens while all streams run, and how many short requests were answered beside them."""
        streams = [
            asyncio.create_task(self._client.ask(model, self._prompt(8), self._tokens))
            for model in self._residents
            for _ in range(2)
        ]
        await asyncio.sleep(0.3)
        models = {QUIET: None, ASKING: itertools.cycle(self._residents), LOADING: self._cold}[kind]
        short = asyncio.create_task(self._arrive(models, streams)) if models is not None else None
        answers = list(await asyncio.gather(*streams))
        others = await short if short is not None else []
        if failed := [answer.failure for answer in (*answers, *others) if answer.failure]:
            raise RuntimeError(f"{len(failed)} requests failed beside resident streams: {failed[0]}")
        begin = max(answer.times[0] for answer in answers) + 0.3
        end = min(answer.times[-1] for answer in answers)
        return [gap for answer in answers for gap in answer.gaps(begin, end)], len(others)

    async def _arrive(self, models: Iterator[str], streams: Sequence["asyncio.Task[Answer]"]) -> list[Answer]:
        """One token each, at an even pace, until the first stream ends."""
        asked: list[asyncio.Task[Answer]] = []
        began = time.perf_counter()
        while not any(stream.done() for stream in streams):
            asked.append(asyncio.create_task(self._client.ask(next(models), self._prompt(4), 1)))
            due = began + len(asked) / LOADS_A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return list(await asyncio.gather(*asked))

    def _prompt(self, length: int) -> list[int]:
        return [self._draw.randrange(10, 384) for _ in range(length)]


def figures(rounds: Sequence[Round]) -> list[Figure]:
    def middle(of: Callable[[Round], float]) -> float:
        return median(of(each) for each in rounds)

    detail = {
        "rounds": [
            {
                "p99_ms": {kind: round(value * 1e3, 2) for kind, value in each.p99.items()},
                "p50_ms": {kind: round(value * 1e3, 2) for kind, value in each.p50.items()},
                "loads": each.loads,
            }
            for each in rounds
        ]
    }
    return [
        Figure(
            "p99 between tokens, loading over without",
            middle(lambda each: each.ratio(ASKING)),
            "x",
            MOST,
            detail=detail,
        ),
        Figure("p99 between tokens, loading over nothing else at all", middle(lambda each: each.ratio(QUIET)), "x"),
        Figure("p99 between tokens, nothing else at all", middle(lambda each: each.p99[QUIET]) * 1e3, "ms"),
        Figure("p99 between tokens, without loading", middle(lambda each: each.p99[ASKING]) * 1e3, "ms"),
        Figure("p99 between tokens, loading 10 adapters a second", middle(lambda each: each.p99[LOADING]) * 1e3, "ms"),
    ]
