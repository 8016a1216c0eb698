"""The scheduler and the runner together, as the engine's loop drives them."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from chorus_engine.core.plan import StepPlan
from chorus_engine.core.request import Beam, FinishReason, Request, SampledToken, Usage
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.runner import Pending, Runner
from chorus_engine.scheduler import Scheduler
from tests.engine.oracle.support.world import World, greedy


@dataclass
class Served:
    tokens: dict[str, list[int]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    prompts: dict[str, list[SampledToken]] = field(default_factory=dict)  # log probabilities, from the second token on
    embeddings: dict[str, bytes] = field(default_factory=dict)
    beams: dict[str, tuple[Beam, ...]] = field(default_factory=dict)
    entered: Counter[str] = field(default_factory=Counter)  # times that a request got a row
    swapped: int = 0  # blocks brought back from host memory
    copied: int = 0  # blocks copied on write
    most_in_flight: int = 0


def footprint(world: World, name: str) -> AdapterFootprint:
    modules = world.memory.get(name).modules
    return AdapterFootprint(name, tuple((layer, module, len(a)) for (layer, module), (a, _) in modules.items()))


def make_requests(
    world: World, lengths: Sequence[int], tokens: int, *, namespace: bytes = b"", name: str = ""
) -> list[Request]:
    """One greedy request a length, adapters and the base in turn; each adapter has a namespace of its own."""
    jobs = world.jobs(list(lengths), tokens=tokens, seed=4)
    return [
        Request(
            f"{name}{i}",
            job.prompt,
            greedy(tokens),
            job.adapter,
            namespace=namespace and namespace + str(job.adapter).encode(),
        )
        for i, job in enumerate(jobs)
    ]


def serve(world: World, scheduler: Scheduler, runner: Runner, requests: Sequence[Request], depth: int) -> Served:
    """Up to `depth` steps launched and not committed, until all requests have ended."""
    for name in world.adapters:
        scheduler.adapter_fetched(footprint(world, name))
    for request in requests:
        scheduler.add(request)
    flights: deque[tuple[StepPlan, Pending]] = deque()
    served = Served()
    now = 0.0
    while True:
        now += 0.01
        plan = scheduler.schedule(now)
        if plan is not None:
            flights.append((plan, runner.launch(plan)))
            served.entered.update(admission.request_id for admission in plan.admit)
            served.swapped += len(plan.swap_in)
            served.copied += len(plan.copy)
            served.most_in_flight = max(served.most_in_flight, len(flights))
        if plan is None and not flights:
            return served
        if plan is None or len(flights) >= depth:
            oldest, pending = flights.popleft()
            for output in scheduler.commit(oldest, pending.result(), now):
                served.tokens.setdefault(output.request_id, []).extend(token.token_id for token in output.tokens)
                served.prompts.setdefault(output.request_id, []).extend(output.prompt)
                if output.embedding:
                    served.embeddings[output.request_id] = output.embedding
                if output.beams:
                    served.beams[output.request_id] = output.beams
                else:
                    assert output.finish in (None, FinishReason.LENGTH)
                if output.usage is not None:
                    served.usage[output.request_id] = output.usage
            scheduler.check()
