"""How much of everything is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    seconds: float  # of each run
    warmup: float
    rounds: int  # of which the best counts, as other work on the machine only takes from it
    connections: int  # of requests that are answered whole
    tokens: int  # of such an answer
    streams: int  # at once
    stream_tokens: int
    step: int  # microseconds between two tokens of a stream: together they ask for more than the gateway can do
    idle_streams: int
    fleet_tokens: int  # of the run that fairness is looked for in
    listening: float  # seconds in which first tokens are timed there
    quota_requests: int
    lives: tuple[int, int]  # requests of a gateway before it is killed, least and most


FULL = Plan(
    seconds=10.0,
    warmup=3.0,
    rounds=3,
    connections=32,
    tokens=16,
    streams=256,
    stream_tokens=256,
    step=4_000,
    idle_streams=10_000,
    fleet_tokens=200_000,
    listening=15.0,
    quota_requests=1_000_000,
    lives=(2_000, 40_000),
)
QUICK = Plan(
    seconds=2.0,
    warmup=1.0,
    rounds=1,
    connections=32,
    tokens=16,
    streams=128,
    stream_tokens=128,
    step=4_000,
    idle_streams=500,
    fleet_tokens=20_000,
    listening=3.0,
    quota_requests=5_000,
    lives=(500, 2_000),
)
