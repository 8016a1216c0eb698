"""Engines of a small world, which do what they are told within their laws, and a placer's memory of what it said."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chorus_adapter_store.placement.fleet import Command, Demand, Engine, Held, Verb
from chorus_adapter_store.placement.plan import RULES, plan
from chorus_adapter_store.placement.situation import Copies, PinWish, Situation
from chorus_adapter_store.values import PlacedFile, Tier

MODEL = "demo"
TICK = 0.5  # seconds
REST = 10.0


@dataclass
class ModelEngine:
    """Its host memory keeps a copy of what is in a slot for as long as nothing else wants the room."""

    name: str
    slots: int = 4
    pool: int = 16  # bytes
    host_bytes: int = 32
    max_num_seqs: int = 8
    max_lora_rank: int = 64
    outer_modules: frozenset[str] | None = None
    draining: bool = False
    drained: bool = False
    stalled: bool = False
    started_at: float = 0.0
    gpu: dict[str, int] = field(default_factory=dict)  # digest -> bytes, the least lately given first
    host: dict[str, int] = field(default_factory=dict)
    pinned: dict[str, Tier] = field(default_factory=dict)
    leased: frozenset[str] = frozenset()

    def report(self) -> Engine:
        held = {digest: self._held(digest) for digest in {**self.host, **self.gpu}}
        kept = [each for each in self.gpu if not self._may_go(each, Tier.GPU)]
        return Engine(
            engine_id=self.name,
            address=f"{self.name}:1",
            model=MODEL,
            base_digest="base",
            started_at=self.started_at,
            max_num_seqs=self.max_num_seqs,
            max_lora_rank=self.max_lora_rank,
            outer_modules=self.outer_modules,
            draining=self.draining,
            drained=self.drained,
            stalled=self.stalled,
            slots=self.slots,
            slots_free=self.slots - len(kept),
            pool_bytes=self.pool,
            pool_bytes_free=self.pool - sum(self.gpu[each] for each in kept),
            host_bytes=self.host_bytes,
            host_bytes_free=self.host_bytes
            - sum(size for each, size in self.host.items() if not self._may_go(each, Tier.HOST)),
            pin_bytes=self.pool // 2,
            pin_bytes_free=self.pool // 2 - sum(self.gpu[d] for d, tier in self.pinned.items() if tier is Tier.GPU),
            held=held,
        )

    def apply(self, command: Command, size: int, demand: Mapping[str, Demand]) -> None:
        """AssertionError when it asks for more than there is."""
        assert not self.draining
        assert not self.stalled
        digest, tier = command.digest, command.tier
        match command.verb:
            case Verb.PREFETCH | Verb.PIN:
                if digest not in self.gpu or command == Command(self.name, Verb.PIN, digest, Tier.HOST):
                    self._fetch(digest, size, demand)
                if tier is Tier.GPU:
                    self._load(digest, size, demand)
                if command.verb is Verb.PIN:
                    self.pinned[digest] = tier
                    self._check_pins()
            case Verb.UNPIN:
                assert self.pinned.pop(digest, None) is not None
            case Verb.DRAIN:
                assert digest not in self.pinned
                if digest not in self.leased:
                    self.gpu.pop(digest, None)
                if tier is Tier.HOST:
                    self.host.pop(digest, None)

    def _fetch(self, digest: str, size: int, demand: Mapping[str, Demand]) -> None:
        if digest in self.host:
            return
        self._evict(self.host, Tier.HOST, self.host_bytes - size, demand)
        self.host[digest] = size

    def _load(self, digest: str, size: int, demand: Mapping[str, Demand]) -> None:
        if digest in self.gpu:
            return
        self._evict(self.gpu, Tier.GPU, self.pool - size, demand)
        if len(self.gpu) >= self.slots:
            self._evict(self.gpu, Tier.GPU, sum(self.gpu.values()) - 1, demand)
        self.gpu[digest] = size

    def _evict(self, memory: dict[str, int], tier: Tier, most: int, demand: Mapping[str, Demand]) -> None:
        """Until `most` bytes are used: what nobody asks for first."""
        going = sorted((each for each in memory if self._may_go(each, tier)), key=lambda each: each in demand)
        while sum(memory.values()) > most:
            assert going, f"{self.name} has no room"
            del memory[going.pop(0)]

    def _may_go(self, digest: str, tier: Tier) -> bool:
        return self.pinned.get(digest) is not tier and not (tier is Tier.GPU and digest in self.leased)

    def _check_pins(self) -> None:
        for tier, memory, most in ((Tier.GPU, self.gpu, self.pool // 2), (Tier.HOST, self.host, self.host_bytes // 2)):
            assert sum(memory[each] for each, pinned in self.pinned.items() if pinned is tier) <= most

    def _held(self, digest: str) -> Held:
        tier = Tier.GPU if digest in self.gpu else Tier.HOST
        size = self.gpu[digest] if tier is Tier.GPU else self.host[digest]
        leases = int(digest in self.leased and tier is Tier.GPU)
        return Held(digest, tier, bytes=size, leases=leases, pinned=self.pinned.get(digest))


@dataclass
class World:
    engines: list[ModelEngine]
    files: dict[str, PlacedFile] = field(default_factory=dict)
    demand: dict[str, Demand] = field(default_factory=dict)
    pins: tuple[PinWish, ...] = ()
    situation: Situation = field(default_factory=lambda: Situation(0.0))  # what stays as it is from tick to tick
    now: float = 1000.0
    copies: Mapping[str, Copies] = field(default_factory=dict)
    said: dict[Command, float] = field(default_factory=dict)  # and when

    def see(self) -> Situation:
        return replace(
            self.situation,
            now=self.now,
            engines=tuple(each.report() for each in self.engines),
            demand=self.demand,
            files=self.files,
            pins=self.pins,
            resting=frozenset(each for each, at in self.said.items() if self.now - at < REST),
            copies=self.copies,
        )

    def tick(self) -> tuple[Command, ...]:
        """Decide, do it all, and let half a second pass."""
        decided = plan(self.see())
        by_name = {each.name: each for each in self.engines}
        for command in decided.commands:
            assert sum(each.engine_id == command.engine_id for each in decided.commands) <= RULES.commands
            assert command not in self.said or self.now - self.said[command] >= REST
            size = self.files[command.digest].size if command.digest in self.files else 0
            by_name[command.engine_id].apply(command, size, self.demand)
            self.said[command] = self.now
        self.copies = decided.copies
        self.now += TICK
        return decided.commands

    def settle(self, seconds: float = 120.0) -> list[Command]:
        """Everything said until silence, which lasts for longer than any memory of what was said."""
        said: list[Command] = []
        silent, end = 0, self.now + seconds
        while silent < 3:
            assert self.now < end, f"still talking: {said[-5:]}"
            commands = self.tick()
            said += commands
            silent = 0 if commands else silent + 1
            if silent == 1:
                self.now += REST
        return said

    def holders(self, digest: str, tier: Tier | None = None) -> list[str]:
        held = [(each.name, each.report().held.get(digest)) for each in self.engines]
        return [name for name, found in held if found is not None and tier in (None, found.tier)]


def file(digest: str, size: int = 2, rank: int = 8, outer_modules: frozenset[str] = frozenset()) -> PlacedFile:
    return PlacedFile(digest, frozenset({MODEL}), rank, size, outer_modules)


def busy(in_flight: float) -> Demand:
    return Demand(in_flight, in_flight, in_flight, in_flight)
