"""All the answers that one request asks for: n for each of its prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from chorus_gateway.answer import Answer
from chorus_gateway.ask import Ask
from chorus_gateway.beams import BeamSink
from chorus_gateway.choice import Choice
from chorus_gateway.engine_client.inbox import Inbox, News
from chorus_gateway.meter import RequestMeter
from chorus_gateway.routing.ticket import Sink
from chorus_gateway.telemetry import Tracing
from chorus_gateway.text.echo import Echo
from chorus_gateway.text.stop_strings import StopStrings
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.text.tools.choice_calls import ChoiceCalls
from chorus_gateway.text.writer import TextWriter
from chorus_gateway.values import Job, Usage


class Choices:
    """Choice i answers prompt i // n. A prompt is paid for once, however many answers it gets."""

    def __init__(
        self,
        ask: Ask,
        jobs: Sequence[Job],
        *,
        tokenizer: ModelTokenizer,
        inbox: Inbox,
        meter: RequestMeter,
        tracing: Tracing,
    ) -> None:
        self._inbox = inbox
        self._meter = meter
        self._n = ask.n
        self._searches = ask.beams is not None
        self._a_job = ask.n if self._searches else 1  # choices that one job answers
        self._may_stop = bool(ask.stop) or (ask.tools is not None and not ask.tools.parallel)
        self._lost = False  # it broke off, and the client got an error and no answer
        self._all = [self._choice(index, job, ask, tokenizer, tracing) for index, job in enumerate(jobs)]

    def _choice(self, index: int, job: Job, ask: Ask, tokenizer: ModelTokenizer, tracing: Tracing) -> Choice:
        echo = _echo(ask, index, job, tokenizer) if ask.echo else None
        writer = _writer(ask, index, job, tokenizer, origin=len(echo.text) if echo is not None else 0)
        return Choice(index, job, writer, self._inbox, self._meter, tracing, _calls(ask, tokenizer), echo)

    @property
    def sinks(self) -> list[tuple[Job, Sink]]:
        """The jobs, each with who hears of it."""
        if not self._searches:
            return [(choice.job, choice) for choice in self._all]
        groups = [self._all[at : at + self._a_job] for at in range(0, len(self._all), self._a_job)]
        return [(group[0].job, BeamSink(group)) for group in groups]

    async def deliver(self, answer: Answer, ended: Callable[[int], None]) -> None:
        """Writes news of all choices as they come, until each has ended; `ended` hears of each before its last piece is
        written, by its job's place among `sinks`. Raises the error that ended any of them.

        What is neither the first nor the last news of a choice, and can be written without waiting, is written as it
        arrives, in the engine's turn.
        """
        unfinished = len(self._all)
        self._inbox.offer_to(partial(self._write_now, answer))
        try:
            while unfinished:
                news = await self._inbox.get()
                piece = self._all[news.index].read(news)
                if piece is None:
                    continue
                if piece.end is not None:
                    unfinished -= 1
                    ended(piece.index // self._a_job)
                await answer.write(piece)
        except Exception:  # a client that leaves is no such
            self._lost = not answer.reached
            raise
        finally:
            self._inbox.offer_to(None)  # which would keep all of this until the collector comes
        self._meter.finished([str(choice.end) for choice in self._all], self.usage().prompt_tokens)

    def _write_now(self, answer: Answer, news: News) -> bool:
        # Nothing in it may end the choice.
        if self._may_stop or news.delta.finish is not None or not answer.keeps_up:
            return False
        piece = self._all[news.index].read(news)
        if piece is not None:
            answer.write_now(piece)
        return True

    def usage(self) -> Usage:
        """As the client sees it."""
        first = self._all[:: self._n]
        return Usage(
            prompt_tokens=sum(len(choice.job.prompt) for choice in first),
            completion_tokens=sum(choice.tokens for choice in self._all),
            cached_tokens=sum(choice.usage.cached_tokens for choice in first if choice.usage),
            drafted_tokens=sum(choice.usage.drafted_tokens for choice in self._all if choice.usage),
            accepted_tokens=sum(map(_accepted, self._all)),
        )

    def billed(self) -> Usage:
        """What the client got so far, or would have had it stayed: nothing of what broke off before any was sent."""
        return Usage(0, 0) if self._lost else self.made()

    def made(self) -> Usage:
        """What came for the client: a prompt counts from the first token of any of its answers, or its embedding."""
        groups = [self._all[at : at + self._n] for at in range(0, len(self._all), self._n)]
        answered = [group[0] for group in groups if any(choice.answered for choice in group)]
        return Usage(
            prompt_tokens=sum(len(choice.job.prompt) for choice in answered),
            completion_tokens=sum(choice.tokens for choice in self._all),
            cached_tokens=sum(choice.usage.cached_tokens for choice in answered if choice.usage),
        )

    @contextmanager
    def open(self) -> Iterator[None]:
        """While the jobs wait and run."""
        try:
            for choice in self._all:
                choice.open()
            yield
        finally:
            for choice in self._all:
                choice.close()


def _accepted(choice: Choice) -> int:
    """Guesses in the answer: of what the engine told beyond a stop string none is, and no first token is one."""
    return 0 if choice.usage is None else min(choice.usage.accepted_tokens, max(0, choice.tokens - 1))


def _writer(ask: Ask, index: int, job: Job, tokenizer: ModelTokenizer, *, origin: int) -> TextWriter:
    prompt = ask.prompts[index // ask.n]
    return TextWriter(
        tokenizer.detokenizer(
            prompt, job.prompt, skip_special_tokens=ask.skip_special_tokens, tools=ask.tools is not None
        ),
        StopStrings(ask.stop, include=ask.include_stop),
        min_tokens=job.sampling.min_tokens if ask.stop else 0,
        spell=tokenizer.token_bytes if job.sampling.logprobs is not None else None,
        origin=origin,
    )


def _echo(ask: Ask, index: int, job: Job, tokenizer: ModelTokenizer) -> Echo:
    prompt = ask.prompts[index // ask.n]
    return Echo(
        prompt if isinstance(prompt, str) else None,
        job.prompt,
        # A text comes as it was sent, with whatever looks like a special token in it.
        tokenizer.detokenizer(prompt, (), skip_special_tokens=ask.skip_special_tokens and not isinstance(prompt, str)),
        spell=tokenizer.token_bytes if job.sampling.prompt_logprobs is not None else None,
    )


def _calls(ask: Ask, tokenizer: ModelTokenizer) -> ChoiceCalls | None:
    if ask.tools is None:
        return None
    return ChoiceCalls(tokenizer.tool_format.reader(ask.tools), parallel=ask.tools.parallel)
