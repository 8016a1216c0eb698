"""Whether Redis may have lost counts."""

import asyncio
import uuid

from chorus_gateway.scripts import Script, Scripts

KEY = "chorus:quota:epoch"


class Epoch:
    """A name that changes whenever Redis may have lost counts: it was emptied, or another run of a server answers. A
    counter is believed only under the name that it was counted under."""

    def __init__(self, line: Scripts) -> None:
        self._line = line
        self._script = Script.load("chorus_gateway.quota", "epoch")
        self._look: asyncio.Task[float] | None = None
        self.name = ""  # not known yet: no counter is believed

    def doubt(self) -> None:
        """The connection was lost: nobody knows who answers next."""
        self.name = ""

    async def look(self) -> float:
        """Learns the name, once for all who ask meanwhile; returns its age in seconds. RedisError: Redis is away."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._ask())
        return await asyncio.shield(self._look)

    async def _ask(self) -> float:
        self.name, age = await self._line.call(self._script, [KEY], [uuid.uuid4().hex[:12]])
        return int(age) / 1e6
