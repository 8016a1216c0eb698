"""One log line when Redis goes away, and one when it is back, whoever notices."""

import logging
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

log = logging.getLogger(__name__)


class Outage:
    """Lasts until all that failed has succeeded again."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    async def guard(self, part: str, act: Callable[[], Awaitable[None]]) -> bool:
        """Whether Redis did what `act` wants of it."""
        try:
            await act()
        except (RedisError, OSError, TimeoutError) as error:
            if not self._failing:
                log.warning("redis is away; requests go on", extra={"part": part, "error": str(error)})
            self._failing.add(part)
            return False
        if part in self._failing:
            self._failing.remove(part)
            if not self._failing:
                log.warning("redis is back")
        return True
