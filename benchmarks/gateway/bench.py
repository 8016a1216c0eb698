"""The parts of the measurement. What is compared is measured in turns, round by round, on the same machine."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.gateway import compared, fairness, litellm, memory, promises, quota, streams
from benchmarks.gateway.engine_rate import rates
from benchmarks.gateway.native import Load, Native, Request
from benchmarks.gateway.plan import Plan
from benchmarks.gateway.stack import Door, Process, first_line, front_door, running
from scripts.progress import progress

PARTS = ("references", "requests", "streams", "memory", "idle", "quota", "fairness")
_MESSAGE = "Say something about the weather of this week, please."
_FACE_REQUESTS = 20_000.0
_ENGINE_TOKENS = 100_000.0


@dataclass
class Bench:
    """The figures so far."""

    plan: Plan
    work: Path
    parts: frozenset[str]
    litellm: Path | None
    soak: float  # seconds of mixed load; 0 is none
    figures: list[Figure] = field(default_factory=list)

    def run(self) -> None:
        native = Native.build(self.work)
        with running(native.face, self.work / "face.log") as process:
            face = Target("the stub's HTTP face", int(first_line(process, self.work / "face.log")), process, "none")
            if "references" in self.parts:
                self._references(native, face)
            if self.parts & {"requests", "streams"}:
                self._compare(native, face)
        if "memory" in self.parts or self.soak:
            self._memory(native)
        if "idle" in self.parts:
            self._idle()
        if "quota" in self.parts:
            with progress(f"{self.plan.quota_requests} requests that end in every way"):
                self.say(*promises.quotas(quota.run(self.plan.quota_requests, self.plan.lives)))
        if "fairness" in self.parts:
            with progress("fairness over two gateways of two workers"):
                found = fairness.run(self.plan.fleet_tokens, listening=self.plan.listening)
            self.say(*promises.fairness(found))

    def say(self, *figures: Figure) -> None:
        for figure in figures:
            print(f"  {figure}", flush=True)
        self.figures += figures

    def _references(self, native: Native, face: "Target") -> None:
        with progress("the stub alone"):
            load = self._saturate(native, face, self._whole(native, face))
            tokens, requests = rates(self.work, streams=self.plan.streams, step=1000, seconds=self.plan.seconds / 2)
        self.say(
            Figure("the stub's HTTP face alone", load.rate, "requests/s", _FACE_REQUESTS, least=True),
            Figure("the stub engine alone, a delta a token", tokens, "tokens/s", _ENGINE_TOKENS, least=True),
            Figure("the stub engine alone, answers in one delta", requests, "requests/s"),
        )

    def _compare(self, native: Native, face: "Target") -> None:
        with ExitStack() as held:
            with progress("start the gateway"):
                door = held.enter_context(front_door(self._folder("door")))
            ours = Target("the gateway", door.port, door.process, door.key, "chorus-demo")
            other = self._other(held, face)
            if "requests" in self.parts:
                self._requests(native, face, ours, other)
            if "streams" in self.parts:
                self._streams(native, ours)

    def _other(self, held: ExitStack, face: "Target") -> "Target | None":
        if self.litellm is None or "requests" not in self.parts:
            print(f"  LiteLLM is not installed, so it is not compared with: {litellm.INSTALL}")
            return None
        with progress("start LiteLLM"):
            proxy = held.enter_context(litellm.proxy(self.litellm, self._folder("litellm"), face.port))
        name = f"LiteLLM {litellm.version_of(self.litellm)}"
        return Target(name, proxy.port, proxy.process, litellm.KEY, litellm.MODEL)

    def _requests(self, native: Native, face: "Target", ours: "Target", other: "Target | None") -> None:
        """Most requests a second of each, then each at 70% of its own and the stub alone at the same rate."""
        targets = [ours, *([other] if other is not None else [])]
        most: dict[str, compared.Run] = {}
        for number in range(self.plan.rounds):
            for target in targets:
                with progress(f"requests, {target.name}, round {number + 1} of {self.plan.rounds}"):
                    run = target.used(lambda t: self._saturate(native, t, self._whole(native, t)), target)
                if target.name not in most or run.load.rate > most[target.name].load.rate:
                    most[target.name] = run
        self.say(*compared.rates([most[target.name] for target in targets]))
        pairs: dict[str, list[tuple[Load, Load]]] = {target.name: [] for target in targets}
        for number in range(self.plan.rounds):
            for target in targets:
                with progress(f"latency, {target.name}, round {number + 1} of {self.plan.rounds}"):
                    rate = compared.SHARE * most[target.name].load.rate
                    through = self._paced(native, target, rate)
                    pairs[target.name].append((through, self._paced(native, face, rate)))
        added = compared.latencies([pairs[target.name] for target in targets])
        self.say(*added)
        others = next((figure.value for figure in added if figure.name == compared.LITELLM), None)
        for rate in (compared.SHARE * compared.REQUESTS, compared.ALONE):
            with progress(f"latency at {rate:.0f} requests/s"):
                runs = [self._paced(native, ours, rate) for _ in range(self.plan.rounds)]
                self.say(*compared.at_pace(runs, self._paced(native, face, rate), rate, others))

    def _streams(self, native: Native, ours: "Target") -> None:
        body = {**_body(ours, self.plan.stream_tokens), "stream": True, "seed": self.plan.step}
        request = native.request(ours.key, body)
        runs = []
        for number in range(self.plan.rounds):
            with progress(f"streams, round {number + 1} of {self.plan.rounds}"):
                runs.append(ours.used(lambda t: self._load(native, t, request, connections=self.plan.streams), ours))
        self.say(*compared.streamed(runs, offered=self.plan.streams * 1e6 / self.plan.step))

    def _memory(self, native: Native) -> None:
        seconds = self.soak or 2 * self.plan.seconds
        with self._own_door("memory") as door, progress(f"mixed load for {seconds:.0f} s") as step:
            loads = memory.Mix(native, door, _body(Target("", door.port, door.process, door.key, "chorus-demo"), 16))
            self.say(*memory.figures(loads.run(seconds, self.plan.warmup, lambda text: setattr(step, "note", text))))

    def _idle(self) -> None:
        with progress(f"{self.plan.idle_streams} idle streams"):
            found = streams.run(self.plan.idle_streams)
        self.say(memory.idle(found, streams.LIMIT_BYTES))

    def _whole(self, native: Native, target: "Target") -> Request:
        return native.request(target.key, _body(target, self.plan.tokens))

    def _saturate(self, native: Native, target: "Target", request: Request) -> Load:
        return self._load(native, target, request, connections=self.plan.connections)

    def _paced(self, native: Native, target: "Target", rate: float) -> Load:
        connections = 4 * self.plan.connections
        return self._load(native, target, self._whole(native, target), connections=connections, rate=rate)

    def _load(self, native: Native, target: "Target", request: Request, **how: Any) -> Load:
        return native.load(target.port, request, seconds=self.plan.seconds, warmup=self.plan.warmup, **how)

    @contextmanager
    def _own_door(self, name: str) -> Iterator[Door]:
        with ExitStack() as held:
            with progress("start the gateway"):
                door = held.enter_context(front_door(self._folder(name)))
            yield door

    def _folder(self, name: str) -> Path:
        folder = self.work / name
        folder.mkdir()
        return folder


@dataclass(frozen=True, slots=True)
class Target:
    """What requests are sent to."""

    name: str
    port: int
    process: Process
    key: str
    model: str = litellm.MODEL

    def used(self, measure: "Callable[[Target], Load]", target: "Target") -> compared.Run:
        """With the processor time that it took."""
        before = self.process.cpu()
        load = measure(target)
        return compared.Run(self.name, load, self.process.cpu() - before)


def _body(target: Target, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": _MESSAGE}]
    return {"model": target.model, "messages": messages, "max_tokens": tokens, "temperature": 0}
