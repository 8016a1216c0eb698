"""Commands of the adapter store's placer: read from a stream, carried out beside what serves, and answered."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from chorus_engine.core.commands import Command, Outcome, Status, Verb
from chorus_engine.core.load import Tier
from chorus_engine.presence.outage import Outage
from chorus_engine.presence.records import Keys

GROUP = "engine"
BLOCK = 1.0  # seconds that Redis holds a read back while there is nothing
AT_ONCE = 64  # entries of one read
RETRY = 0.25  # seconds between two tries while Redis is away
RESULTS = 1000  # kept in the stream, about
RESULTS_TTL = 60.0  # seconds
BEGINNING = "0"  # reads what this engine was given before and has not acknowledged: answers may have got lost
NEW = ">"

DIGEST = re.compile("[0-9a-f]{64}")
Fields = dict[str, str]


class Wrong(Exception):
    """What a command has wrong, in one sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    entry: str  # the command's id in the stream
    fields: Fields
    outcome: Outcome


class Commands:
    """Each command is carried out once, and acknowledged when it has ended; a term lower than the highest seen is
    refused. Lives on the event loop, beside the connection that it blocks.
    """

    def __init__(
        self,
        reader: Redis,
        redis: Redis,
        keys: Keys,
        *,
        execute: Callable[[Command], Awaitable[Outcome]],
        ended: Callable[[str, str], None],
        lost: Callable[[], None],
        outage: Outage,
        clock: Callable[[], float],
    ) -> None:
        """`reader`: for blocking reads alone, its timeout longer than BLOCK. `execute` never fails.
        `ended(verb, status)` counts; `lost()`: Redis has forgotten the stream, and so everything. `clock`: monotonic.
        """
        self.term = 0  # the highest seen
        self._reader = reader
        self._redis = redis
        self._keys = keys
        self._execute = execute
        self._ended = ended
        self._lost = lost
        self._outage = outage
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}  # by entry
        self._unsent: list[Answer] = []
        self._sending = asyncio.Lock()
        self._since = BEGINNING

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not await self._outage.guard("commands", self._read):
                self._since = BEGINNING
                await asyncio.sleep(RETRY)

    async def close(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reader.aclose()

    async def _read(self) -> None:
        try:
            await self._flush()
            streams: Any = await self._reader.xreadgroup(
                GROUP, GROUP, {self._keys.commands: self._since}, count=AT_ONCE, block=int(BLOCK * 1000)
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_group()
            return
        entries: list[tuple[str, Fields | None]] = streams[0][1] if streams else []
        if self._since != NEW:
            self._since = entries[-1][0] if entries else NEW
        fresh = [(entry, fields) for entry, fields in entries if entry not in self._running]
        if fresh:
            now = await self._server_time()
            for entry, fields in fresh:
                self._running[entry] = asyncio.create_task(self._carry_out(entry, fields or {}, now))

    async def _make_group(self) -> None:
        """From the beginning: what came before the group counts too."""
        self._lost()
        try:
            await self._redis.xgroup_create(self._keys.commands, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _server_time(self) -> float:
        seconds, microseconds = await self._redis.time()
        return float(seconds) + microseconds / 1e6

    # ---------------------------------------------------------------- one command

    async def _carry_out(self, entry: str, fields: Fields, now: float) -> None:
        outcome = await self._outcome(fields, now)
        known = fields.get("command") in tuple(Verb)
        self._ended(fields["command"] if known else "unknown", outcome.status)
        self._unsent.append(Answer(entry, fields, outcome))
        await self._outage.guard("commands", self._flush)
        del self._running[entry]

    async def _outcome(self, fields: Fields, now: float) -> Outcome:
        try:
            command = self._parse(fields, now)
        except Wrong as wrong:
            return Outcome(Status.REFUSED, str(wrong))
        return await self._execute(command)

    def _parse(self, fields: Fields, now: float) -> Command:
        """`now`: by Redis' clock."""
        try:
            verb, tier = Verb(fields["command"]), Tier(fields.get("tier") or Tier.HOST)
            digest, term = fields["digest"], int(fields["term"])
            expires_at = int(fields.get("expires_at") or 0) / 1000
        except (KeyError, ValueError) as error:
            raise Wrong(f"the command cannot be read: {type(error).__name__} {error}.") from None
        if not DIGEST.fullmatch(digest):
            raise Wrong(f"the command cannot be read: its digest is {digest[:80]!r}, not 64 hexadecimal digits.")
        if term < self.term:
            raise Wrong(f"its term is {term} and term {self.term} has begun.")
        self.term = term
        if expires_at and expires_at <= now:
            raise Wrong(f"its time was over {now - expires_at:.3f} s ago.")
        return Command(verb, digest, tier, self._clock() + expires_at - now if expires_at else None)

    async def _flush(self) -> None:
        """Outcomes, oldest first; each leaves the list once Redis has it."""
        async with self._sending:
            while self._unsent:
                await self._send(self._unsent[0])
                del self._unsent[0]

    async def _send(self, answer: Answer) -> None:
        fields = {name: answer.fields.get(name, "") for name in ("command", "digest", "tier", "term")}
        result: dict[Any, Any] = {
            "command_id": answer.entry,
            **fields,
            "status": answer.outcome.status,
            "reason": answer.outcome.reason,
        }
        pipe = self._redis.pipeline(transaction=True)
        pipe.xadd(self._keys.results, result, maxlen=RESULTS, approximate=True)
        pipe.pexpire(self._keys.results, int(RESULTS_TTL * 1000))
        pipe.xack(self._keys.commands, GROUP, answer.entry)
        pipe.xdel(self._keys.commands, answer.entry)
        await pipe.execute()
