"""What the gateway leans on dies, hangs or slows down, and clients go: what can go on goes on, and nothing is left.

A gateway's own process, engines without a model in processes of theirs, a real Redis behind a proxy, and a real
PostgreSQL where there is one.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.gateway import streams
from tests.support.front_door import Engine, FrontDoor, body, eventually, front_door
from tests.support.postgres import PostgresDatabase, postgres, postgres_database

__all__ = ["postgres", "postgres_database"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("front door"), pytest.mark.timeout(600)]

NEVER = 3600.0  # seconds until a token that is not to come
KNOWN_SECONDS = 5.0  # a key without the database
LEAVERS = 40  # clients that vanish
FLOOD = 600_000  # tokens for somebody who does not read
OPEN_STREAMS = 500  # 10,000: python -m benchmarks.gateway.streams
STREAM_BYTES = 55_000  # of the gateway's memory, with room for 10,000 in 600 MB


@pytest.fixture(scope="module")
def shared_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    with front_door(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest.fixture
def door(shared_door: FrontDoor) -> Iterator[FrontDoor]:
    """Two engines before each test; after it nothing is held by anybody."""
    for engine in [each for each in shared_door.engines if not each.alive]:
        shared_door.bury(engine)
    while len(shared_door.engines) < 2:
        shared_door.start_engine()
    eventually(lambda: ready(shared_door) == {each.id for each in shared_door.engines})
    yield shared_door
    shared_door.proxy.delay = 0.0
    eventually(lambda: shared_door.ask().status_code == 200)
    shared_door.assert_calm()


def live(door: FrontDoor) -> list[Any]:
    with door.http(door.admin) as http:
        engines: list[Any] = http.get("/admin/v1/live").json()["engines"]
        return engines


def ready(door: FrontDoor) -> set[str]:
    return {each["id"] for each in live(door) if each["state"] == "ready"}


def busy(door: FrontDoor) -> Engine:
    """The engine that has a request."""
    eventually(lambda: any(each["running"] for each in live(door)))
    running = {each["id"] for each in live(door) if each["running"]}
    return next(engine for engine in door.engines if engine.id in running)


def events(response: httpx.Response) -> Iterator[Any]:
    """Parsed; the last as it is."""
    for line in response.iter_lines():
        if line:
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)


@contextmanager
def stream(door: FrontDoor, **fields: Any) -> Iterator[Iterator[Any]]:
    with door.http() as http, http.stream("POST", "/v1/completions", json=body(stream=True, **fields)) as response:
        assert response.status_code == 200, response.read()
        yield events(response)


def connect(door: FrontDoor, **fields: Any) -> socket.socket:
    """A request on a connection of its own, whose answer nobody reads."""
    content = json.dumps(body(**fields)).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", door.port))
    connection.sendall(head.encode() + content)
    return connection


def test_an_engine_is_killed_in_the_middle_of_a_stream(door: FrontDoor) -> None:
    with stream(door, tokens=1000, pause=0.05) as told:
        assert next(told)["choices"]
        busy(door).kill()
        rest = list(told)
    assert rest[-1] == "[DONE]"
    assert rest[-2]["error"].keys() == {"message", "type", "param", "code"}
    reasons = [choice["finish_reason"] for each in rest[:-2] for choice in each["choices"]]
    assert not any(reasons), "no end is invented"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_is_killed_before_the_first_token(door: FrontDoor, streamed: bool) -> None:
    """Its client sees an answer, and nothing else."""
    with ThreadPoolExecutor(1) as pool, door.http() as http:
        asked = pool.submit(http.post, "/v1/completions", json=body(pause=NEVER, stream=streamed))
        busy(door).kill()
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.text
    assert answer.text.count("[DONE]") == streamed


def test_an_engine_stops_without_a_word(door: FrontDoor) -> None:
    """Its connection stays open. What had no token is answered by the other, and what had one ends."""
    with stream(door, tokens=100_000, pause=0.05) as told:
        next(told)
        with ThreadPoolExecutor(1) as pool, ExitStack() as held:
            stopped = busy(door)
            asked = [pool.submit(door.ask, pause=NEVER)]
            eventually(lambda: sum(each["running"] for each in live(door)) == 2)
            held.enter_context(stopped.stopped())
            other = next(engine for engine in door.engines if engine is not stopped)
            rest = list(told)
            assert rest[-1] == "[DONE]"
            assert rest[-2]["error"]["message"]
            # Where the second request is, nobody chose: at the other, it waits for ever until that one dies too.
            if not asked[0].done():
                held.pop_all().close()
                eventually(lambda: stopped.id in ready(door))
                other.kill()
            assert asked[0].result().status_code == 200


def test_an_engine_drains_by_order(door: FrontDoor) -> None:
    """It gets nothing more, and what it has comes to its end."""
    with stream(door, tokens=120, pause=0.05) as told, door.http(door.admin) as http:
        next(told)
        drained = busy(door)
        order = f"/admin/v1/engines/{drained.id}/drain"
        assert http.post(order).status_code == 204
        eventually(lambda: drained.id not in ready(door))
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: door.ask(tokens=8, pause=0.05), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert [each["running"] for each in live(door) if each["id"] == drained.id] == [1]
        assert list(told)[-1] == "[DONE]"
        assert http.delete(order).status_code == 204
    eventually(lambda: drained.id in ready(door))


def test_redis_is_slow(door: FrontDoor) -> None:
    door.proxy.delay = 0.5
    for _ in range(5):
        assert door.ask().status_code == 200
    assert door.gauge("quota_degraded") == 1
    door.proxy.delay = 0.0
    eventually(lambda: door.ask().status_code == 200 and not door.gauge("quota_degraded"))


def test_redis_loses_everything_and_goes_while_requests_run(door: FrontDoor) -> None:
    with stream(door, tokens=60, pause=0.05) as first, stream(door, tokens=60, pause=0.05) as second:
        next(first)
        next(second)
        assert door.unrest()["leases"] == 2
        door.redis.flushall()
        assert door.ask().status_code == 200
        door.redis_server.stop()
        assert door.ask().status_code == 200
        door.redis_server.start()
        assert list(first)[-1] == list(second)[-1] == "[DONE]"
    for engine in door.engines:
        door.announce(engine)


def test_clients_vanish(door: FrontDoor) -> None:
    """Streamed and not, before the first token and after it."""
    kinds = [(streamed, pause) for streamed in (False, True) for pause in (0.05, NEVER)]
    clients = [
        connect(door, stream=streamed, pause=pause, tokens=100_000)
        for streamed, pause in kinds * (LEAVERS // len(kinds))
    ]
    eventually(lambda: sum(each["running"] for each in live(door)) == LEAVERS)
    assert door.unrest()["leases"] == LEAVERS
    for client in clients:
        client.close()
    eventually(lambda: not sum(each["running"] for each in live(door)))
    eventually(lambda: not door.unrest(), why=lambda: str(door.unrest()))


def test_a_client_does_not_read(door: FrontDoor) -> None:
    """Its engine is told long before the answer's end, and others are served."""
    before = door.gateway.resident()
    client = connect(door, stream=True, tokens=FLOOD, pause=0)
    eventually(lambda: door.gauge("generation_tokens_total") >= 0 and door.gauge("num_requests_running") == 1)
    eventually(lambda: not door.gauge("num_requests_running"))
    assert door.ask().status_code == 200
    client.close()
    door.assert_calm()
    assert door.gauge("generation_tokens_total") < FLOOD, "it was ended, not finished"
    assert door.gateway.resident() - before < 32 << 20


def test_many_streams_are_open() -> None:
    figures = streams.run(OPEN_STREAMS)
    assert figures["bytes_a_stream"] < STREAM_BYTES, figures


def test_the_database_is_gone(tmp_path: Path, postgres_database: PostgresDatabase) -> None:
    """Keys that were looked up just now go on for a moment; then nobody can say whose key it is, and nobody does."""
    settings = {"CHORUS_GATEWAY_DATABASE_URL": postgres_database.url, "CHORUS_AUTH_CACHE_TTL": str(KNOWN_SECONDS)}
    name = postgres_database.name
    with front_door(tmp_path, settings, engines=1) as door:
        # Once a gateway hears of changes it looks up everything anew.
        eventually(lambda: dict(door.redis.pubsub_numsub("chorus:auth"))["chorus:auth"])
        known, stranger = door.new_key(), door.new_key()
        began = time.monotonic()
        assert door.ask(key=known).status_code == 200
        postgres_database.execute(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        statuses = [door.ask(key=known).status_code]
        assert statuses == [200] or time.monotonic() > began + KNOWN_SECONDS, "it is known until its time is over"
        assert door.ask(key=stranger).status_code == 503
        until = time.monotonic() + 60
        while statuses[-1] == 200 and time.monotonic() < until:
            statuses.append(door.ask(key=known).status_code)
        assert statuses[-1] == 503, "never that the key is wrong"
        assert not door.ready()
        postgres_database.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        eventually(lambda: door.ask().status_code == 200)
        assert door.ask(key=stranger).status_code == 200
        door.assert_calm()


def test_a_worker_dies_and_the_streams_of_another_go_on(tmp_path: Path) -> None:
    with front_door(tmp_path, {"CHORUS_GATEWAY_WORKERS": "2"}, engines=1) as door, ExitStack() as held:
        eventually(lambda: door.gauge("gateway_worker_starts") == 2 and all(door.ready() for _ in range(16)))
        # The system chooses a worker for each: of so many each has some.
        told = [held.enter_context(stream(door, tokens=100, pause=0.05)) for _ in range(20)]
        for each in told:
            next(each)
        pid = door.gateway.popen.pid
        workers = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        os.kill(workers[0], signal.SIGKILL)
        ends = [finished(each) for each in told]
        assert 0 < sum(ends) < len(ends)
        assert all(door.ask().status_code == 200 for _ in range(10))
        eventually(lambda: door.gauge("gateway_worker_starts") == 3)


def finished(told: Iterator[Any]) -> bool:
    """Whether a stream comes to its own end."""
    try:
        return bool(list(told)[-1] == "[DONE]")
    except httpx.TransportError:
        return False
