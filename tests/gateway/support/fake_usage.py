"""What the engine's double keeps of submissions until a gateway has taken it down."""

from typing import Any

from chorus_proto.engine.v1 import engine_pb2 as pb


class FakeUsage:
    """By worker, then (request id, attempt)."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[tuple[str, int], pb.Usage]] = {}
        self.all: dict[tuple[str, int], pb.Usage] = {}  # whether acknowledged or not

    def keep(self, worker_id: str, delta: pb.Delta) -> None:
        """Of a submission's last delta."""
        name = delta.request_id, delta.attempt
        self.all[name] = self.kept.setdefault(worker_id, {})[name] = delta.usage

    def acknowledge(self, worker_id: str, submissions: Any) -> None:
        for each in submissions:
            self.kept.get(worker_id, {}).pop((each.request_id, each.attempt), None)

    @property
    def unacknowledged(self) -> int:
        return sum(map(len, self.kept.values()))

    def answer(self, worker_id: str, live: list[tuple[str, int]]) -> pb.OrphanedUsageResponse:
        ended = [
            pb.FinalUsage(submission=_named(name), usage=usage) for name, usage in self.kept.get(worker_id, {}).items()
        ]
        return pb.OrphanedUsageResponse(ended=ended, live=map(_named, live))


def _named(name: tuple[str, int]) -> pb.SubmissionId:
    return pb.SubmissionId(request_id=name[0], attempt=name[1])
