"""The three services' readings of CHORUS_REDIS_URL, which must be one."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from redis.asyncio import Redis

import chorus_adapter_store.config
import chorus_adapter_store.errors
import chorus_adapter_store.redis_url
import chorus_engine.config
import chorus_engine.core.errors
import chorus_engine.presence.redis_url
import chorus_gateway.config
import chorus_gateway.errors
import chorus_gateway.redis_url


@dataclass(frozen=True)
class Service:
    module: ModuleType
    load_settings: Callable[[list[str]], object]
    start_error: type[Exception]

    def connect(self, url: str, timeout: float = 15.0) -> Redis:
        client: Redis = self.module.connect(self.module.check(url), timeout)
        options = client.connection_pool.connection_kwargs
        options["socket_connect_timeout"] = timeout  # services give up earlier than a busy machine shakes hands
        return client


SERVICES = {
    "store": Service(
        chorus_adapter_store.redis_url,
        chorus_adapter_store.config.load_settings,
        chorus_adapter_store.errors.StartError,
    ),
    "engine": Service(
        chorus_engine.presence.redis_url,
        chorus_engine.config.load_settings,
        chorus_engine.core.errors.StartError,
    ),
    "gateway": Service(
        chorus_gateway.redis_url,
        chorus_gateway.config.load_settings,
        chorus_gateway.errors.StartError,
    ),
}
