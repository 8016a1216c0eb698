"""How much of everything is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    adapters: int  # registered
    alphas: tuple[float, ...]
    rate: float  # requests a second
    seconds: float  # of each trace
    pacing_rounds: int
    stream_tokens: int
    cold: int  # adapters
    gateways: int
    claim_rounds: int
    fresh_rounds: int
    operations: int


FULL = Plan(
    adapters=1000,
    alphas=(0.5, 1.0),
    rate=16.0,
    seconds=20.0,
    pacing_rounds=5,
    stream_tokens=500,
    cold=12,
    gateways=10,
    claim_rounds=5,
    fresh_rounds=5,
    operations=1000,
)
QUICK = Plan(
    adapters=200,
    alphas=(1.0,),
    rate=16.0,
    seconds=4.0,
    pacing_rounds=1,
    stream_tokens=200,
    cold=4,
    gateways=3,
    claim_rounds=2,
    fresh_rounds=2,
    operations=60,
)
