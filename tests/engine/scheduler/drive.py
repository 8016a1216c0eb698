"""The engine's loop in a few lines, and short ways to write requests."""

from collections import deque

from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import Band, Output, Request, SamplingParams
from chorus_engine.core.spec import AdapterFootprint, Capacity
from chorus_engine.scheduler import Scheduler
from chorus_engine.scheduler.chunks import ChunkPolicy
from chorus_engine.scheduler.drafting import Speculator
from chorus_engine.scheduler.eviction import EvictionPolicy
from tests.engine.scheduler.fake_runner import FakeRunner

SMALL = Capacity(
    max_model_len=64,
    max_num_seqs=4,
    max_num_batched_tokens=16,
    block_size=4,
    num_blocks=32,
    max_adapters=2,
    adapter_page_rows=8,
    adapter_pages=4,
)


def request(
    name: str,
    prompt: int = 3,
    max_tokens: int = 4,
    *,
    adapter: str | None = None,
    band: Band = Band.DEFAULT,
    counter: float = 0.0,
    arrival: float = 0.0,
    deadline: float | None = None,
    min_tokens: int = 0,
    stop: tuple[int, ...] = (),
    tokens: tuple[int, ...] | None = None,
    namespace: bytes = b"",
    seed: int | None = None,
) -> Request:
    """Tokens and seed that are not given differ by name, so that no two requests have the same answer by chance."""
    by_name = sum(map(ord, name))
    return Request(
        id=name,
        prompt=tuple((by_name + 7 * position) % 19 for position in range(prompt)) if tokens is None else tokens,
        sampling=SamplingParams(max_tokens, min_tokens, seed=by_name if seed is None else seed, stop_token_ids=stop),
        adapter=adapter,
        namespace=namespace,
        band=band,
        counter=counter,
        arrival=arrival,
        deadline=deadline,
    )


def footprint(digest: str, rank: int = 8, layers: int = 2, modules: tuple[str, ...] = ("q", "v")) -> AdapterFootprint:
    return AdapterFootprint(digest, tuple((layer, module, rank) for layer in range(layers) for module in modules))


class Drive:
    """Keeps up to `depth` steps in flight; after each commit the scheduler's laws are checked."""

    def __init__(
        self,
        capacity: Capacity = SMALL,
        depth: int = 1,
        load_steps: int = 0,
        patience: float = 2.0,
        *,
        prefix_caching: bool = True,
        chunks: ChunkPolicy = ChunkPolicy(),  # noqa: B008 - a frozen value
        eviction: EvictionPolicy | None = None,
        speculator: Speculator | None = None,
    ) -> None:
        self.scheduler = Scheduler(
            capacity,
            patience,
            prefix_caching=prefix_caching,
            chunks=chunks,
            eviction=eviction,
            speculator=speculator,
        )
        self.requests: dict[str, Request] = {}
        self.runner = FakeRunner(capacity, self.requests, load_steps)
        self.depth = depth
        self.now = 0.0
        self.plans: list[StepPlan] = []
        self.outputs: list[Output] = []
        self._flights: deque[tuple[StepPlan, StepResult]] = deque()

    def add(self, *requests: Request) -> None:
        for each in requests:
            self.requests[each.id] = each
            self.scheduler.add(each)

    def host(self, *footprints: AdapterFootprint) -> None:
        for each in footprints:
            self.scheduler.adapter_fetched(each)

    def launch(self) -> StepPlan | None:
        plan = self.scheduler.schedule(self.now)
        if plan is not None:
            self.plans.append(plan)
            self._flights.append((plan, self.runner.launch(plan)))
        return plan

    def commit(self) -> None:
        plan, result = self._flights.popleft()
        self.outputs += self.scheduler.commit(plan, result, self.now)
        self.scheduler.check()

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    def step(self, seconds: float = 0.01) -> bool:
        """One turn of the loop; False when there was nothing to do."""
        self.now += seconds
        plan = self.launch()
        if self._flights and (plan is None or len(self._flights) >= self.depth):
            self.commit()
            return True
        self.outputs += self.scheduler.take_outputs()
        return plan is not None

    def run(self, limit: int = 10_000) -> None:
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"still busy after {limit} steps")

    def running(self) -> set[str]:
        """Names of the requests in the last plan."""
        names = {admission.row: admission.request_id for plan in self.plans for admission in plan.admit}
        return {names[step.row] for step in self.plans[-1].rows}

    def tokens(self, name: str) -> list[int]:
        return [token.token_id for output in self.outputs if output.request_id == name for token in output.tokens]

    def end(self, name: str) -> Output:
        (end,) = [output for output in self.outputs if output.request_id == name and output.finish]
        return end
