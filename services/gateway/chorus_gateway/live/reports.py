"""One worker tells Redis what it does, every second."""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chorus_gateway.live.snapshot import Activity, Snapshot
from chorus_gateway.telemetry.tenant_tokens import TenantTokens

WORKERS = "chorus:live:{workers}"  # a set of ids; the tag keeps a cluster's keys together
INTERVAL = 1.0  # seconds between two reports
REPORT_TTL = 5  # seconds; of a worker that ended nothing is seen after that
WINDOW = 5  # reports over which a rate is taken

log = logging.getLogger(__name__)

# By tenant: answers that an engine works on, and those that wait.
Census = Callable[[], Mapping[str, tuple[int, int]]]


def report_key(worker: str) -> str:
    return f"{WORKERS}:{worker}"


@dataclass(frozen=True, slots=True)
class _Counted:
    at: float  # the end of the interval, seconds on the monotonic clock
    tokens: Mapping[str, int]


class LiveReports:
    """`run` reports until it is cancelled, and takes its report back then."""

    def __init__(
        self,
        census: Census,
        tokens: TenantTokens,
        redis: Redis,
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._census = census
        self._tokens = tokens
        self._redis = redis
        self._interval = interval
        self._clock = clock
        self._counted: deque[_Counted] = deque(maxlen=WINDOW)
        self._begun = clock()
        self._heard = True
        self.worker = uuid.uuid4().hex
        self.latest = Snapshot()

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.report()
        finally:
            await self._tell(self._withdraw)

    async def report(self) -> None:
        self.latest = self._look()
        await self._tell(self._publish)

    def _look(self) -> Snapshot:
        if len(self._counted) == WINDOW:
            self._begun = self._counted[0].at
        self._counted.append(_Counted(self._clock(), self._tokens.take()))
        span = max(self._counted[-1].at - self._begun, 1e-3)
        sums: dict[str, int] = {}
        for counted in self._counted:
            for tenant, tokens in counted.tokens.items():
                sums[tenant] = sums.get(tenant, 0) + tokens
        census = self._census()
        tenants = {
            tenant: Activity(*census.get(tenant, (0, 0)), sums.get(tenant, 0) / span) for tenant in census | sums.keys()
        }
        return Snapshot(tenants).busiest()

    async def _publish(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(report_key(self.worker), self.latest.to_json(), ex=REPORT_TTL)
        pipeline.sadd(WORKERS, self.worker)
        pipeline.expire(WORKERS, 2 * REPORT_TTL)
        await pipeline.execute()

    async def _withdraw(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(report_key(self.worker))
        pipeline.srem(WORKERS, self.worker)
        await pipeline.execute()

    async def _tell(self, say: Callable[[], Awaitable[None]]) -> None:
        try:
            await say()
            self._heard = True
        except (RedisError, OSError) as error:
            if self._heard:
                log.warning("what goes on is not reported", extra={"reason": str(error)})
            self._heard = False
