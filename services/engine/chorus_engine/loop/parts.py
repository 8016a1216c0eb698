"""What the loop works with, and what it tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chorus_engine.core.errors import AdapterError
from chorus_engine.core.load import Held, HostMemory, Load
from chorus_engine.core.plan import StepPlan, StepResult
from chorus_engine.core.request import Output, Request
from chorus_engine.core.spec import AdapterFootprint
from chorus_engine.loop import inventory, orders


@dataclass(frozen=True, slots=True)
class News:
    """What others hear of after a step, or when something changed without one."""

    outputs: tuple[Output, ...]
    load: Load
    adapters: Mapping[str, Held | None]  # that changed, as they are now; None is gone
    host: HostMemory  # as of the last change


class Slots(inventory.Slots, orders.Slots, Protocol):
    """The adapter slots, beside what requests need of them."""


class Scheduler(Protocol):
    @property
    def slots(self) -> Slots: ...
    def add(self, request: Request) -> None: ...
    def cancel(self, request_id: str) -> None: ...
    def wanted_adapters(self) -> tuple[str, ...]: ...
    def adapter_fetched(self, footprint: AdapterFootprint) -> None: ...
    def adapter_failed(self, digest: str, error: AdapterError) -> None: ...
    def schedule(self, now: float) -> StepPlan | None: ...
    def commit(self, plan: StepPlan, result: StepResult, now: float) -> tuple[Output, ...]: ...
    def take_outputs(self) -> tuple[Output, ...]: ...
    def next_deadline(self) -> float | None: ...
    def load(self) -> Load: ...


class Pending(Protocol):
    def result(self) -> StepResult: ...


class Runner(Protocol):
    def launch(self, plan: StepPlan) -> Pending: ...


class Supply(inventory.Host, orders.Host, Protocol):
    """Which adapters are fetched and which host memory keeps."""

    def want(self, digest: str) -> None: ...
    def pump(self) -> None: ...
    def room(self, footprint: AdapterFootprint, size: int, answer: Callable[[int | AdapterError], None]) -> None: ...
    def arrived(self, digest: str) -> AdapterFootprint: ...
    def failed(self, digest: str, error: AdapterError) -> None: ...


class Observer(Protocol):
    """Called on the loop's thread: must be quick and must not raise."""

    def step(self, plan: StepPlan, seconds: float) -> None: ...

    def adapter_loaded(self, seconds: float) -> None:
        """Into a slot, from the plan's launch until it was seen there."""
