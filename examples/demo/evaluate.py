"""Grades the demo adapters through the HTTP API of a running stack (`make demo-eval`).

Each adapter answers unseen prompts of its task, alone; so does the base. Then all adapters and the base are asked at
once in a shuffled order, and the first prompts one request at a time: every answer must be the one given before.
Exit status: 0 all well, 1 a grade or an answer is off, 2 the stack cannot be asked.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tasks import TASKS, Example, Task

ADAPTERS = Path(__file__).parent / "adapters"
ENV_FILE = Path(__file__).parents[2] / ".chorus" / "env"
OWN_LEAST, BASE_MOST = 0.95, 0.30  # grades: an adapter's at least, the base's below
ONE_AT_A_TIME = 10  # prompts of each model that are also asked with nothing else running
ATTEMPTS = 8  # of a request that is told to come again later (429, 503)
ANSWER_TOKENS = 160


class Unanswered(Exception):
    """The stack gave no answer to grade; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Question:
    model: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Result:
    """One adapter's row of the table."""

    name: str
    rank: int
    modules: str
    own: float  # grade, 0 to 1
    base: float
    asked_again: int
    differing: tuple[Question, ...]

    @property
    def passed(self) -> bool:
        return self.own >= OWN_LEAST and self.base < BASE_MOST and not self.differing


class Asker:
    """Asks the API with at most `concurrency` requests at once, and shows how far it is."""

    def __init__(self, client: httpx.AsyncClient, concurrency: int) -> None:
        self._client = client
        self._concurrency = concurrency

    async def ask(self, questions: Sequence[Question], label: str, concurrency: int | None = None) -> list[str | None]:
        """Greedy answers in the order of the questions; None for one that was cut off at the length limit."""
        gate = asyncio.Semaphore(concurrency or self._concurrency)
        progress = Progress(label, len(questions))

        async def one(question: Question) -> str | None:
            async with gate:
                answer = await self._answer(question)
            progress.advance()
            return answer

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one(question)) for question in questions]
        progress.done()
        return [task.result() for task in asked]

    async def _answer(self, question: Question) -> str | None:
        body = {
            "model": question.model,
            "messages": [{"role": "user", "content": question.prompt}],
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
        }
        for attempt in range(ATTEMPTS):
            response = await self._post(body)
            if response.status_code not in (429, 503):
                break
            await asyncio.sleep(float(response.headers.get("retry-after", 2**attempt / 4)))
        if response.status_code != 200:
            raise Unanswered(f"{question.model} answered with HTTP {response.status_code}: {response.text}")
        choice = response.json()["choices"][0]
        return str(choice["message"]["content"]) if choice["finish_reason"] == "stop" else None

    async def _post(self, body: Mapping[str, object]) -> httpx.Response:
        try:
            return await self._client.post("chat/completions", json=body)
        except httpx.HTTPError as failure:
            reason = str(failure) or type(failure).__name__
            raise Unanswered(
                f"{self._client.base_url} did not answer ({reason}): is the stack up (`make up`)?"
            ) from None


class Progress:
    """A line on stderr that is rewritten on a terminal, and written once elsewhere."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._count = label, total, 0
        self._started = time.monotonic()

    def advance(self) -> None:
        self._count += 1
        if sys.stderr.isatty():
            print(f"\r{self._line()}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        print(f"\r{self._line()}" if sys.stderr.isatty() else self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        return f"{self._label:<28} {self._count:>5}/{self._total}  {time.monotonic() - self._started:6.1f} s"


async def evaluate(asker: Asker, model: str, names: Sequence[str], count: int) -> list[Result]:
    """Grades the named adapters of `model` on `count` unseen prompts each."""
    examples = {name: TASKS[name].examples("test", count) for name in names}
    alone: dict[Question, str | None] = {}
    for name in names:
        for served in (f"{model}@{name}", model):
            questions = [Question(served, example.prompt) for example in examples[name]]
            answers = await asker.ask(questions, f"{name}: {'adapter' if '@' in served else 'base'} alone")
            alone |= zip(questions, answers, strict=True)
    differing = await _differing(asker, alone)
    return [_result(name, model, examples[name], alone, differing) for name in names]


async def _differing(asker: Asker, alone: Mapping[Question, str | None]) -> set[Question]:
    """Questions whose answer changes among others, or with nothing beside them."""
    shuffled = list(alone)
    random.Random(0).shuffle(shuffled)
    together = await asker.ask(shuffled, "all interleaved")
    models = {question.model for question in alone}
    few = [question for model in sorted(models) for question in _of(model, alone)[:ONE_AT_A_TIME]]
    single = await asker.ask(few, "one at a time", concurrency=1)
    again = [*zip(shuffled, together, strict=True), *zip(few, single, strict=True)]
    return {question for question, answer in again if answer != alone[question]}


def _of(model: str, questions: Mapping[Question, str | None]) -> list[Question]:
    return [question for question in questions if question.model == model]


def _result(
    name: str,
    model: str,
    examples: Sequence[Example],
    alone: Mapping[Question, str | None],
    differing: set[Question],
) -> Result:
    own = [Question(f"{model}@{name}", example.prompt) for example in examples]
    base = [Question(model, example.prompt) for example in examples]
    config = json.loads((ADAPTERS / name / "adapter_config.json").read_text())
    return Result(
        name=name,
        rank=config["r"],
        modules=_modules(config),
        own=_grade(TASKS[name], examples, [alone[question] for question in own]),
        base=_grade(TASKS[name], examples, [alone[question] for question in base]),
        asked_again=len(own) + len(base),
        differing=tuple(question for question in [*own, *base] if question in differing),
    )


def _modules(config: Mapping[str, object]) -> str:
    targets = config["target_modules"]
    names = sorted(str(target).removesuffix("_proj") for target in targets) if isinstance(targets, list) else ["?"]
    return ("all seven" if len(names) == 7 else " ".join(names)) + (", rsLoRA" if config["use_rslora"] else "")


def _grade(task: Task, examples: Sequence[Example], answers: Sequence[str | None]) -> float:
    pairs = zip(examples, answers, strict=True)
    return sum(answer is not None and task.grade(example, answer) for example, answer in pairs) / len(examples)


def report(results: Sequence[Result]) -> str:
    """The table, and what is wrong below it."""
    lines = [f"{'adapter':<10} {'rank':>4}  {'modules':<18} {'own':>7} {'base':>7}  same when interleaved"]
    for result in results:
        same = f"{result.asked_again - len(result.differing)}/{result.asked_again}"
        verdict = "" if result.passed else "  FAILED"
        lines.append(
            f"{result.name:<10} {result.rank:>4}  {result.modules:<18} {result.own:>7.1%} {result.base:>7.1%}"
            f"  {same}{verdict}"
        )
    differing = [question for result in results for question in result.differing]
    lines += [f"another answer when asked again: {one.model}: {one.prompt}" for one in differing[:5]]
    return "\n".join(lines)


def settings(environment: Mapping[str, str], env_file: Path) -> tuple[str, str]:
    """Address and key: from the environment, else from the file that `make up` writes."""
    written = {}
    if env_file.exists():
        lines = (line.removeprefix("export ").partition("=") for line in env_file.read_text().splitlines())
        written = {name.strip(): value.strip().strip("'\"") for name, _, value in lines}
    found = {**written, **environment}
    missing = [name for name in ("CHORUS_BASE_URL", "CHORUS_API_KEY") if not found.get(name)]
    if missing:
        raise Unanswered(f"{' and '.join(missing)} not set: start the stack with `make up`, or set the environment.")
    return found["CHORUS_BASE_URL"], found["CHORUS_API_KEY"]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [name for name in TASKS if (ADAPTERS / name).is_dir()]
    parser = argparse.ArgumentParser(description="Grade the demo adapters through the HTTP API.")
    parser.add_argument("--count", type=int, default=200, help="unseen prompts an adapter (default 200)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once (default 32)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--model", default="chorus-demo", help="served name of the base (default chorus-demo)")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> int:
    address, key = settings(os.environ, ENV_FILE)
    limits = httpx.Limits(max_connections=options.concurrency)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120, limits=limits) as client:
        results = await evaluate(Asker(client, options.concurrency), options.model, options.only, options.count)
    print(report(results))
    return 0 if all(result.passed for result in results) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return asyncio.run(run(_options(arguments)))
    except* Unanswered as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"demo-eval: {first}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
