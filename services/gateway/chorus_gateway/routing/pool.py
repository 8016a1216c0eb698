"""The engines that this gateway knows, and a session with each."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from redis.exceptions import RedisError

from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.errors import Unavailable
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
        self, registry: Registry, connect: Connect, *, addresses: Sequence[str] = (), poll_interval: float = 0.5
    ) -> None:
        self._registry = registry
        self._connect = connect
        self._addresses = tuple(addresses)
        self._poll_interval = poll_interval
        self._members: dict[str, Member] = {}
        self._bases: dict[str, BaseModel] = {}  # by name, as seen last
        self._lost_at: dict[str, float] = {}  # digest → when the last engine of a base was lost, monotonic seconds
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
        self._learn(engine.description.base)
        self._lost_at.pop(engine.description.base.digest, None)
        self._tell(self._members[engine.address])

    def news(self, engine: EngineClient) -> None:
        member = self._members[engine.address]
        self._tell(member)
        if self._listener is not None:
            self._listener.news(member)

    def lost(self, engine: EngineClient) -> None:
        if engine.description is not None and not self.members(engine.description.base.digest):
            self._lost_at[engine.description.base.digest] = time.monotonic()
        if (member := self._members.get(engine.address)) is not None:
            self._tell(member)

    def _tell(self, member: Member) -> None:
        """The listener, if the engine is no more what it was."""
        now = member.takes, member.connected and member.stalled
        if now != member.told:
            member.told = now
            if self._listener is not None:
                self._listener.turned(member)

    def absent_for(self, model: str) -> float:
        """Seconds since the last engine of a base model (digest) was lost; 0 while there is one."""
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
        except (RedisError, OSError, ValueError) as error:
            if self._readable:
                _log.warning("engine registry unreadable, keeping the engines known", extra={"reason": str(error)})
            self._readable = False
            return
        self._readable = True
        self._reconcile(announced)
        gone = [address for address, member in self._members.items() if self._gone(address, member)]
        await self._close(gone)

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
