"""CHORUS_REDIS_URL, and the client that it asks for: of one server, or of the master that sentinels know."""

import asyncio
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

LIMITS = {"max_connections": 32, "timeout": 1.0, "health_check_interval": 10}  # further calls queue, for a second
LOGIN, NODE = r"(?:[^/?#]*@)?", r"(?:\[[\da-fA-F:.]+\]|[^@/?#,:\[\]\s]+)(?::\d{1,5})?"
SERVER = re.compile(rf"unix://[^#]+|rediss?://{LOGIN}{NODE}(?:/\d*)?(?:\?[^#]*)?")
SENTINELS = re.compile(rf"redis\+sentinel://({LOGIN})({NODE}(?:,{NODE})*)/([^/?#]+)(?:/(\d+))?(?:\?([^#]*))?")
FORMS = "redis://host:port/0, rediss://…, unix://path or redis+sentinel://host:26379,host2:26379/service/0"


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to whichever server is the master; those to the sentinels are closed with them."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


class Heeding:
    """A connection that ends with the task that writes to it is cancelled, which `wait_for` inside redis-py may keep
    from it on Python 3.11: the task would go on, and whoever waits for its end for ever."""

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]  # the connection's
        except RuntimeError as error:  # uvloop's word for a connection that was closed while it was being made
            raise ConnectionLost(str(error)) from error
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


def check(url: str) -> str:
    """The URL itself. ValueError, which shows no password: another form, a wrong option or a file that is not there."""
    if not SERVER.fullmatch(url) and not SENTINELS.fullmatch(url):
        raise ValueError(f"it must be {FORMS}, and a password's / ? # are written %2F %3F %23")
    try:
        connection = connect(url).connection_pool.make_connection()
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (RedisError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"its options cannot be used ({error})") from None
    return url


def connect(url: str, timeout: float = 0.1) -> Redis:
    """A client whose calls end within `timeout` seconds and are tried once: the caller knows better what to do then."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,  # redis-py does not notice under RESP3 that a pooled connection was closed by a restart
        "socket_timeout": timeout,
        "socket_connect_timeout": 0.1,
        "retry": Retry(NoBackoff(), 0),
    }
    found = SENTINELS.fullmatch(url)
    pool = BlockingConnectionPool.from_url(url, **options, **LIMITS) if found is None else _master(found, options)
    pool.connection_class = type("HeedingConnection", (Heeding, pool.connection_class), {})
    return Redis.from_pool(pool)


def _master(found: re.Match[str], options: dict[str, Any]) -> MasterPool:
    login, nodes, service, database, query = found.groups(default="")
    asked = dict(parse_qsl(query))
    sentinels = {name: asked.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {"ssl": asked.pop("ssl", "").lower() in ("true", "yes", "1")}
    given: dict[str, Any] = {**parse_url(f"redis://{login}master/{database}?{urlencode(asked)}")}
    del given["host"]
    sentinels.update({name: value for name, value in given.items() if name.startswith("ssl_")})
    addresses = [(node.hostname, node.port or 26379) for node in (urlsplit(f"//{node}") for node in nodes.split(","))]
    sentinel = Sentinel(addresses, sentinel_kwargs={**options, **tls, **sentinels})
    return MasterPool(service, sentinel, **tls, **{**options, **LIMITS, **given})
