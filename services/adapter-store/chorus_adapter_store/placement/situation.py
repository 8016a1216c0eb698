"""What one decision is made from, and what it says: all of one base model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chorus_adapter_store.placement.fleet import Command, Demand, Engine
from chorus_adapter_store.values import PlacedFile, Tier


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in seconds."""

    share: float = 0.5  # of an engine's rows: requests in flight beyond it ask for another engine
    shrink_after: float = 30.0  # fewer engines only when fewer have been enough for so long
    short_of_room: float = 0.25  # of slots or pool: below it, copies that are too many are drained
    commands: int = 8  # in flight to an engine
    newcomer: float = 120.0  # an engine that is no older is given what others use
    newcomer_share: float = 0.5  # of its host memory
    moved: float = 600.0  # what a leaving engine used within is kept elsewhere
    most_moved: int = 64  # adapters


@dataclass(frozen=True, slots=True)
class PinWish:
    file: PlacedFile
    tier: Tier
    engines: int = 0  # 0 is all


@dataclass(frozen=True, slots=True)
class Warming:
    """An adapter that will be asked for soon."""

    digest: str
    after: str = ""  # the digest that it takes the place of


@dataclass(frozen=True, slots=True)
class Copies:
    """On how many engines an adapter should be."""

    count: int
    until: float  # no fewer before; seconds since 1970


@dataclass(frozen=True, slots=True)
class Situation:
    now: float  # seconds since 1970
    engines: tuple[Engine, ...] = ()
    demand: Mapping[str, Demand] = field(default_factory=dict)  # by digest
    files: Mapping[str, PlacedFile] = field(default_factory=dict)  # that requests of this base may use, by digest
    gone: frozenset[str] = frozenset()  # digests that none may use any more
    pins: tuple[PinWish, ...] = ()
    warmings: tuple[Warming, ...] = ()
    recent: tuple[str, ...] = ()  # digests, the most used first
    pending: frozenset[Command] = frozenset()  # sent, and not ended
    resting: frozenset[Command] = frozenset()  # ended a short while ago: not to be sent again yet
    copies: Mapping[str, Copies] = field(default_factory=dict)  # as decided before


@dataclass(frozen=True, slots=True)
class Plan:
    commands: tuple[Command, ...]  # what matters most first
    copies: Mapping[str, Copies]
    short: tuple[PinWish, ...] = ()  # pins that fewer engines than they ask for have room for
