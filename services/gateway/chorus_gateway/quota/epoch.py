"""Whether Redis may have lost counts."""

import uuid

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from chorus_gateway.quota.scripts import Script, Scripts

KEY = "chorus:quota:epoch"


class Epoch:
    """A name that changes whenever Redis may have lost counts: it was emptied, or another run of a server answers. A
    counter is believed only under the name that it was counted under."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts
        self._script = Script.load("epoch")
        self.name = ""  # not known yet: no counter is believed

    def doubt(self) -> None:
        """The connection was lost: nobody knows who answers next."""
        self.name = ""

    async def look(self) -> float:
        """Learns the name; returns its age in seconds. RedisError when Redis is away."""
        fresh = uuid.uuid4().hex[:12]
        name, age = await self._scripts.call(self._script, [KEY], [await self._run_id(), fresh])
        self.name = name
        return int(age) / 1e6

    async def _run_id(self) -> str:
        try:
            return str((await self._redis.info("server"))["run_id"])
        except NoPermissionError:
            return "unknown"  # emptying is noticed all the same
