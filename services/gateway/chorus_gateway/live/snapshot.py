"""One worker's moment, and the sum of several."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MOST_TENANTS = 500  # that one report names; the others are one sum


@dataclass(frozen=True, slots=True)
class Activity:
    running: int = 0  # answers that an engine works on
    waiting: int = 0  # answers that wait for one
    tokens_per_second: float = 0.0  # generated, over the last seconds

    def __add__(self, other: "Activity") -> "Activity":
        return Activity(
            self.running + other.running,
            self.waiting + other.waiting,
            self.tokens_per_second + other.tokens_per_second,
        )

    def __bool__(self) -> bool:
        return bool(self.running or self.waiting or self.tokens_per_second)

    @property
    def rank(self) -> tuple[int, float]:
        """The busier, the lower."""
        return -self.running - self.waiting, -self.tokens_per_second


@dataclass(frozen=True, slots=True)
class Snapshot:
    tenants: Mapping[str, Activity] = field(default_factory=dict)
    others: Activity = field(default_factory=Activity)  # tenants that are not named

    @property
    def total(self) -> Activity:
        return sum(self.tenants.values(), self.others)

    def busiest(self, most: int = MOST_TENANTS) -> "Snapshot":
        """Names the busiest alone, busiest first."""
        ranked = sorted(self.tenants.items(), key=lambda each: (each[1].rank, each[0]))
        return Snapshot(dict(ranked[:most]), sum((activity for _, activity in ranked[most:]), self.others))

    def to_json(self) -> str:
        named = {tenant: _numbers(activity) for tenant, activity in self.tenants.items()}
        return json.dumps({"tenants": named, "others": _numbers(self.others)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """ValueError when it is none."""
        try:
            data = json.loads(text)
            tenants = {str(tenant): Activity(*numbers) for tenant, numbers in data["tenants"].items()}
            return cls(tenants, Activity(*data["others"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("not a worker's report") from error


def summed(snapshots: Iterable[Snapshot]) -> Snapshot:
    tenants: dict[str, Activity] = {}
    others = Activity()
    for snapshot in snapshots:
        others += snapshot.others
        for tenant, activity in snapshot.tenants.items():
            tenants[tenant] = tenants.get(tenant, Activity()) + activity
    return Snapshot(tenants, others)


def _numbers(activity: Activity) -> list[float]:
    return [activity.running, activity.waiting, round(activity.tokens_per_second, 2)]
