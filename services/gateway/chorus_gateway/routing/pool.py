"""The engines that this gateway knows, and a session with each."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from prometheus_client import Counter
from redis.exceptions import RedisError

from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.errors import Unavailable
from chorus_gateway.routing.ejection import Ejector
from chorus_gateway.routing.interventions import Interventions, NoInterventions
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.registry import Announcement, Registry
from chorus_gateway.values import BaseModel

_log = logging.getLogger(__name__)

# Makes a client for an address that reports to the events given; the pool runs it.
Connect = Callable[[str, Events], EngineClient]


class Listener(Protocol):
    def news(self, member: Member) -> None:
        """A frame of its stream has been taken in: there may be new credits."""

    def turned(self, member: Member) -> None:
        """From now on the engine may be sent requests or may not, or may hang or does not."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """For /readyz and administrators. `model` is empty until the engine was reached for the first time."""

    address: str
    model: str
    connected: bool
    running: int  # this gateway's requests


class EnginePool:
    """`run` follows the registry until it is cancelled.

    While Redis is away the engines last known stay: one is dropped only when the registry is readable and does not have
    it, no session is open, and it is not among the fixed `addresses`. A base model once seen stays known, so that a
    request for it waits for an engine to come back and is not told that the model does not exist.
    """

    def __init__(
        self,
        registry: Registry,
        connect: Connect,
        *,
        addresses: Sequence[str] = (),
        poll_interval: float = 0.5,
        silence: float = 30.0,
        interventions: Interventions | None = None,
        ejections: Counter | None = None,
    ) -> None:
        """An engine that has requests and sends no frame for `silence` seconds counts as one that may hang."""
        self.ejector = Ejector(self.members, self._tell, ejections)
        self._interventions = interventions or NoInterventions()
        self._silence = silence
        self._spoke: dict[Member, tuple[int, float]] = {}  # frames, and when there were fewer, of those with requests
        self._registry = registry
        self._connect = connect
        self._addresses = tuple(addresses)
        self._poll_interval = poll_interval
        self._members: dict[str, Member] = {}
        self._bases: dict[str, BaseModel] = {}  # by name, as seen last
        self._lost_at: dict[str, float] = {}  # digest → when the last engine of a base was lost, monotonic seconds
        self._met: dict[str, str] = {}  # engine id → address, of every engine that was ever connected
        self._listener: Listener | None = None
        self._readable = True

    def listen(self, listener: Listener) -> None:
        """`listener` hears of engines after the pool has."""
        self._listener = listener

    async def run(self) -> None:
        try:
            self._reconcile(())
            while True:
                await self._poll()
                self._watch_silence()
                await asyncio.sleep(self._poll_interval)
        finally:
            await self._close(list(self._members))

    def get(self, name: str) -> BaseModel | None:
        """Unavailable while no engine has been reached since the start: nobody knows then which models there are."""
        if not self._bases:
            raise Unavailable("No engine has been reached yet: try again in some seconds.")
        return self._bases.get(name)

    def all(self) -> tuple[BaseModel, ...]:
        return tuple(self._bases.values())

    def connected(self, engine: EngineClient) -> None:
        assert engine.description is not None
        self._met[engine.description.engine_id] = engine.address
        self._learn(engine.description.base)
        self._note_absence(engine.description.base.digest)
        self._tell(self._members[engine.address])

    def news(self, engine: EngineClient) -> None:
        member = self._members[engine.address]
        member.frames += 1
        member.silent = False
        self._tell(member)
        if self._listener is not None:
            self._listener.news(member)

    def lost(self, engine: EngineClient) -> None:
        if engine.description is not None:
            self._note_absence(engine.description.base.digest)
        if (member := self._members.get(engine.address)) is not None:
            member.silent = False
            self._tell(member)

    def _tell(self, member: Member) -> None:
        """The listener, if the engine is no more what it was."""
        now = member.takes, member.connected and member.stalled
        if now != member.told:
            member.told = now
            if self._listener is not None:
                self._listener.turned(member)

    def absent_for(self, model: str) -> float:
        """Seconds since the last engine of a base model (digest) was lost or ordered to drain; 0 while there is one."""
        lost_at = self._lost_at.get(model)
        return 0.0 if lost_at is None else time.monotonic() - lost_at

    def members(self, model: str) -> list[Member]:
        """The connected engines of a base model (digest)."""
        return [member for member in self._members.values() if member.connected and member.serves(model)]

    def known(self) -> tuple[Member, ...]:
        """Connected or not."""
        return tuple(self._members.values())

    def clients(self) -> dict[str, EngineClient]:
        """Of the connected engines, by id."""
        return {member.id: member.client for member in self._open()}

    @property
    def complete(self) -> bool:
        """Whether all engines that are alive are known: the registry is readable."""
        return self._readable

    def is_gone(self, engine_id: str) -> bool:
        """Whether another engine is where it was: it never comes back under this id."""
        member = self._members.get(self._met.get(engine_id, ""))
        return member is not None and member.connected and member.id != engine_id

    async def fetch_tokenizer(self, digest: str) -> bytes:
        """From any engine that has it. Unavailable when none answers."""
        error = Unavailable("No engine is connected that has this model's tokenizer: try again in some seconds.")
        for member in self._open():
            if member.description.base.tokenizer_digest != digest:
                continue
            try:
                return await member.client.fetch_tokenizer(digest)
            except Unavailable as failed:
                error = failed
        raise error

    def ready(self) -> bool:
        """Whether at least one engine can be sent requests."""
        return bool(self._open())

    def states(self) -> tuple[EngineState, ...]:
        return tuple(_state(member.client) for member in self._members.values())

    def _learn(self, base: BaseModel) -> None:
        known = self._bases.get(base.name)
        # Engines of one model may differ in the context that they have memory for: what the smallest can do, all can.
        lengths = [member.description.base.max_model_len for member in self.members(base.digest)]
        created = known.created if known else base.created
        self._bases[base.name] = replace(base, max_model_len=min([base.max_model_len, *lengths]), created=created)

    def _open(self) -> list[Member]:
        return [member for member in self._members.values() if member.connected]

    async def _poll(self) -> None:
        try:
            announced = await self._registry.read()
            await self._intervene()
        except (RedisError, OSError, ValueError) as error:
            if self._readable:
                _log.warning("engine registry unreadable, keeping the engines known", extra={"reason": str(error)})
            self._readable = False
            return
        self._readable = True
        self._reconcile(announced)
        gone = [address for address, member in self._members.items() if self._gone(address, member)]
        await self._close(gone)

    async def _intervene(self) -> None:
        by_id = {member.id: member for member in self._members.values() if member.client.description is not None}
        drained = await self._interventions.drained(by_id.keys())
        for engine, member in by_id.items():
            if member.drained is not (engine in drained):
                member.drained = engine in drained
                _log.info("engine drains" if member.drained else "engine drains no more", extra={"engine": engine})
                self._note_absence(member.description.base.digest)
                self._tell(member)
        await self._interventions.show_ejected([each for each, member in by_id.items() if member.health.ejected])

    def _watch_silence(self) -> None:
        now = time.monotonic()
        spoke = {}
        for member in self._open():
            if len(member.session):
                frames, since = self._spoke.get(member, (-1, now))
                spoke[member] = (frames, since) if frames == member.frames else (member.frames, now)
        self._spoke = spoke
        for member, (_, since) in spoke.items():
            if now - since > self._silence and not member.silent:
                _log.warning("engine is silent", extra={"engine": member.id, "address": member.client.address})
                member.silent = True
                self.ejector.failed(member, trial=True)
                self._tell(member)

    def _note_absence(self, model: str) -> None:
        if any(not member.drained for member in self.members(model)):
            self._lost_at.pop(model, None)
        else:
            self._lost_at.setdefault(model, time.monotonic())

    def _reconcile(self, announced: Sequence[Announcement]) -> None:
        """Connects to whoever is new; those who are gone are closed by the caller."""
        by_address = {announcement.address: announcement for announcement in announced if announcement.address}
        for address in (*self._addresses, *by_address):
            if address not in self._members:
                client = self._connect(address, self)
                self._members[address] = Member(client, asyncio.create_task(client.run()))
        for address, member in self._members.items():
            member.announced = by_address.get(address)
            self._tell(member)

    def _gone(self, address: str, member: Member) -> bool:
        return member.announced is None and member.client.session is None and address not in self._addresses

    async def _close(self, addresses: list[str]) -> None:
        closing = [self._members.pop(address) for address in addresses]
        for member in closing:
            member.task.cancel()
        if closing:
            # Not one by one under suppress: that would swallow a cancellation of our own.
            await asyncio.wait([member.task for member in closing])


def _state(client: EngineClient) -> EngineState:
    session = client.session
    model = client.description.base.name if client.description else ""
    return EngineState(client.address, model, session is not None, len(session) if session is not None else 0)
