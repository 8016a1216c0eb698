"""The engines that this gateway knows, and a session with each."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from chorus_gateway.engine_client.client import EngineClient, Events
from chorus_gateway.engine_client.session import Session
from chorus_gateway.errors import Unavailable
from chorus_gateway.routing.choose import Candidate, choose
from chorus_gateway.routing.registry import Announcement, Registry
from chorus_gateway.values import BaseModel

_log = logging.getLogger(__name__)

# Makes a client for an address that reports to the events given; the pool runs it.
Connect = Callable[[str, Events], EngineClient]


@dataclass(slots=True)
class _Member:
    client: EngineClient
    task: asyncio.Task[None]
    announced: Announcement | None = None


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
        self._members: dict[str, _Member] = {}
        self._bases: dict[str, BaseModel] = {}  # by name, as seen last
        self._lost_at: dict[str, float] = {}  # digest → when the last engine of a base was lost, monotonic seconds
        self._listener: Events | None = None
        self._readable = True

    def listen(self, listener: Events) -> None:
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
        if self._listener is not None:
            self._listener.connected(engine)

    def news(self, engine: EngineClient) -> None:
        if self._listener is not None:
            self._listener.news(engine)

    def lost(self, engine: EngineClient) -> None:
        if engine.description is not None and not self.sessions(engine.description.base.digest):
            self._lost_at[engine.description.base.digest] = time.monotonic()
        if self._listener is not None:
            self._listener.lost(engine)

    def absent_for(self, model: str) -> float:
        """Seconds since the last engine of a base model (digest) was lost; 0 while there is one."""
        lost_at = self._lost_at.get(model)
        return 0.0 if lost_at is None else time.monotonic() - lost_at

    def sessions(self, model: str) -> list[Session]:
        """Open sessions with engines of a base model (digest)."""
        return [session for member, session in self._open() if _serves(member, model)]

    def choose(self, model: str, adapter: str | None) -> Session | None:
        """Of an engine of this base model with a credit, the best one for the adapter; None when there is none."""
        ready = [pair for pair in self._open() if pair[1].credits and _serves(pair[0], model) and not _drains(pair[0])]
        if not ready:
            return None
        best = choose([_candidate(*pair) for pair in ready], adapter) if len(ready) > 1 else 0
        return ready[best][1]

    async def fetch_tokenizer(self, digest: str) -> bytes:
        """From any engine that has it. Unavailable when none answers."""
        error = Unavailable("No engine is connected that has this model's tokenizer: try again in some seconds.")
        for member, _ in list(self._open()):
            description = member.client.description
            if description is None or description.base.tokenizer_digest != digest:
                continue
            try:
                return await member.client.fetch_tokenizer(digest)
            except Unavailable as failed:
                error = failed
        raise error

    def ready(self) -> bool:
        """Whether at least one engine can be sent requests."""
        return any(True for _ in self._open())

    def states(self) -> tuple[EngineState, ...]:
        return tuple(_state(member.client) for member in self._members.values())

    def _learn(self, base: BaseModel) -> None:
        known = self._bases.get(base.name)
        # Engines of one model may differ in the context that they have memory for: what the smallest can do, all can.
        lengths = [other.max_model_len for other in self._connected_bases() if other.digest == base.digest]
        created = known.created if known else base.created
        self._bases[base.name] = replace(base, max_model_len=min([base.max_model_len, *lengths]), created=created)

    def _open(self) -> Iterable[tuple[_Member, Session]]:
        for member in self._members.values():
            if (session := member.client.session) is not None:
                yield member, session

    def _connected_bases(self) -> list[BaseModel]:
        return [member.client.description.base for member, _ in self._open() if member.client.description]

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
                self._members[address] = _Member(client, asyncio.create_task(client.run()))
        for address, member in self._members.items():
            member.announced = by_address.get(address)

    def _gone(self, address: str, member: _Member) -> bool:
        return member.announced is None and member.client.session is None and address not in self._addresses

    async def _close(self, addresses: list[str]) -> None:
        closing = [self._members.pop(address) for address in addresses]
        for member in closing:
            member.task.cancel()
        for member in closing:
            with contextlib.suppress(asyncio.CancelledError):
                await member.task


def _serves(member: _Member, model: str) -> bool:
    description = member.client.description
    return description is not None and description.base.digest == model


def _drains(member: _Member) -> bool:
    return member.announced is not None and member.announced.draining


def _candidate(member: _Member, session: Session) -> Candidate:
    description, announced = member.client.description, member.announced
    assert description is not None
    tiers = announced.tiers if announced is not None else {}
    # The engine's own count has other gateways' requests in it, but not yet those that we sent last.
    return Candidate(max(len(session), session.load), description.max_num_seqs, tiers)


def _state(client: EngineClient) -> EngineState:
    session = client.session
    model = client.description.base.name if client.description else ""
    return EngineState(client.address, model, session is not None, len(session) if session is not None else 0)
