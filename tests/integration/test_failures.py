"""Parts of a fleet die, hang and lose their memory; every answer is the right adapter's, and nothing stays behind.

Two engines, two stores, one gateway; engines reach their store through a proxy that can stop in the middle of a file.
"""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from scripts.stack import envfile
from scripts.stack.seed import TENANT
from tests.support.failing import PART, SKILLED, Fleet, eventually, text
from tests.support.fleet import names_of, reading, running_fleet
from tests.support.proxy import proxy
from tests.support.stack import Tenant, free_ports

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("failures"), pytest.mark.timeout(600)]
REVERSE = "chorus-demo@reverse"
SILENCE = 12.0  # seconds; engines and locks that are not renewed live for six
HANGING, HANGS = "engine-2", "tests.support.hanging_engine"


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    store, port = free_ports(2)
    settings = {
        "CHORUS_STORE_PORT": str(store),
        "CHORUS_STORE_ADDRESS": f"127.0.0.1:{port}",
        "CHORUS_ADAPTER_VOLUME": "",  # files come over the network
    }
    folder = tmp_path_factory.mktemp("fleet")
    settings |= {"HANG_FILE": str(folder / "hang"), "CHORUS_STALL_SECONDS": "1.5", "CHORUS_HANG_SECONDS": "5"}
    with ExitStack() as held:
        passing = held.enter_context(proxy(("127.0.0.1", store), port))
        stack = held.enter_context(running_fleet(folder, settings, engines=2, stores=2, modules={HANGING: HANGS}))
        yield Fleet(stack, Tenant(stack, TENANT, envfile.read(stack.config.state / "env")["CHORUS_API_KEY"]), passing)


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    """Whole before each test; after it nothing is left over, and everyone answers."""
    shared_fleet.stack.mend()
    yield shared_fleet
    shared_fleet.proxy.release()
    shared_fleet.stack.mend()
    eventually(lambda: len(shared_fleet.engine_ids()) == 2)
    shared_fleet.heals(REVERSE)
    shared_fleet.assert_calm()


def test_an_engine_is_killed_while_it_loads(fleet: Fleet) -> None:
    fleet.proxy.hold_after(PART)
    model, _ = fleet.publish()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fleet.ask, model)
        assert fleet.proxy.held.wait(20)
        eventually(fleet.waiting_on)
        engine = fleet.waiting_on()
        assert engine is not None
        fleet.stack.kill(engine)
        fleet.proxy.release()
        assert text(asked.result()) == SKILLED
    fleet.stack.start(engine)
    fleet.stack.await_healthy(engine)
    assert fleet.says(model) == SKILLED


def test_the_store_is_killed_in_the_middle_of_a_fetch(fleet: Fleet) -> None:
    fleet.proxy.hold_after(PART)
    model, _ = fleet.publish()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fleet.ask, model)
        assert fleet.proxy.held.wait(20)
        eventually(fleet.waiting_on)
        fleet.stack.kill("adapter-store")
        fleet.proxy.release()
        assert fleet.ask("chorus-demo").status_code == 200
        fleet.stack.start("adapter-store")
        answer = asked.result()
        # Whether it is back before the engine has asked four times is the machine's matter.
        assert answer.status_code == 503 or text(answer) == SKILLED
    fleet.heals(model)


def test_a_blob_rots_before_anybody_has_it(fleet: Fleet) -> None:
    """Its requests fail and no other; the same upload mends it."""
    fleet.proxy.hold_after(PART)  # whoever fetches it ahead gets no further
    model, _ = fleet.publish()
    fleet.stack.kill("adapter-store")  # with what it has in memory
    blob = fleet.blob(model)
    blob.chmod(0o644)
    rotten = bytearray(blob.read_bytes())
    rotten[-1] ^= 1
    blob.write_bytes(rotten)
    fleet.proxy.release()
    fleet.stack.start("adapter-store")
    fleet.stack.await_healthy("adapter-store")
    fleet.heals(REVERSE)
    answer = fleet.ask(model)
    assert 500 <= answer.status_code < 600, answer.text
    fleet.publish_again(model)
    fleet.heals(model)


def test_the_placer_is_killed_while_it_holds_the_lock(fleet: Fleet) -> None:
    stores = names_of(fleet.stack, "adapter-store")

    def leaders() -> list[str]:
        return [
            name
            for name in stores
            if fleet.stack.processes[name].poll() is None and reading(fleet.stack, [name], "placer_leading")
        ]

    eventually(lambda: len(leaders()) == 1)
    (leader,) = leaders()
    term = reading(fleet.stack, [leader], "placer_term")
    fleet.stack.kill(leader)
    eventually(lambda: len(leaders()) == 1)
    (heir,) = leaders()
    assert heir != leader
    assert reading(fleet.stack, [heir], "placer_term") > term
    fleet.stack.start(leader)  # it may be the one that the gateway asks
    fleet.stack.await_healthy(leader)
    fleet.heals(REVERSE)
    time.sleep(1.5)
    assert leaders() == [heir]


def test_engines_refuse_a_placer_that_was_replaced(fleet: Fleet) -> None:
    model, digest = fleet.publish()
    engine = next(iter(fleet.engine_ids()))
    key = f"chorus:engine:{{{engine}}}"

    def command(term: int) -> dict[str, str]:
        fields = {"command": "prefetch", "digest": digest, "tier": "host", "term": term, "expires_at": 0}
        sent = fleet.redis.xadd(f"{key}:commands", fields)

        def answer() -> dict[str, str] | None:
            results = [each for _, each in fleet.redis.xrange(f"{key}:results")]
            return next((each for each in results if each["command_id"] == sent), None)

        eventually(answer)
        found = answer()
        assert found is not None
        return found

    newest = 1 + int(fleet.redis.hget(key, "term") or 0) + 1000
    assert command(newest)["status"] == "done"
    late = command(newest - 1)
    assert late["status"] == "refused"
    assert late["reason"]
    assert fleet.says(model) == SKILLED
    # Terms only grow; the real placer's would be refused from now on by an engine that heard of this one.
    fleet.stack.restart(fleet.engine_ids()[engine])


def test_an_engine_hangs_with_its_heart_beating(fleet: Fleet) -> None:
    """What it was given is answered by the other; it ends by itself, and whoever started it starts another."""
    hang, process = Path(fleet.stack.environment["HANG_FILE"]), fleet.stack.processes[HANGING]
    models = [REVERSE, fleet.publish()[0], fleet.publish()[0]]
    with ThreadPoolExecutor(12) as pool:
        hang.touch()
        try:
            asked = [pool.submit(fleet.says, model) for model in models * 2]
            of_base: list[Future[httpx.Response]] = []

            def ended() -> bool:
                if all(each.done() for each in of_base):  # the other engine had all of them
                    of_base.extend(pool.submit(fleet.ask, "chorus-demo") for _ in range(6))
                return process.poll() is not None

            eventually(ended)
        finally:
            hang.unlink()
        fleet.stack.mend()
        assert [each.result() for each in asked] == [SKILLED] * len(asked)
        assert [each.result().status_code for each in of_base] == [200] * len(of_base)
    assert process.returncode == 1
    assert "the engine hangs and ends" in fleet.stack.config.log(HANGING).read_text()


def test_redis_hangs_for_longer_than_anything_in_it_lives(fleet: Fleet) -> None:
    """Its connections stay open and nothing answers: requests go on, also for adapters that nobody has."""
    model, _ = fleet.publish()
    with fleet.stack.frozen("redis"):
        until = time.monotonic() + SILENCE
        asked = [REVERSE, model, "chorus-demo@upper", "chorus-demo"]
        for wanted in itertools.cycle(asked):
            answer = fleet.ask(wanted)
            assert answer.status_code == 200, answer.text
            if wanted in (REVERSE, model):
                assert text(answer) == SKILLED
            if time.monotonic() > until:
                break
            time.sleep(0.5)
    eventually(lambda: len(fleet.engine_ids()) == 2)
    fresh, _ = fleet.publish()
    assert fleet.says(fresh) == SKILLED


def test_redis_is_killed_and_comes_back_empty(fleet: Fleet) -> None:
    for path in (fleet.stack.config.state / "redis").glob("appendonly*"):
        path.unlink()
    fleet.stack.kill("redis")
    assert fleet.says(REVERSE) == SKILLED
    fleet.stack.start("redis")
    fleet.stack.await_healthy("redis")
    assert fleet.says(REVERSE) == SKILLED
    eventually(lambda: len(fleet.engine_ids()) == 2)
    eventually(lambda: fleet.redis.exists("chorus:placer"))


def test_redis_loses_everything_while_requests_run(fleet: Fleet) -> None:
    models = [fleet.publish()[0] for _ in range(3)]
    stop: list[bool] = []

    def load(number: int) -> int:
        count = 0
        while not stop:
            assert fleet.says(models[(number + count) % len(models)]) == SKILLED
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load, number) for number in range(3)]
        time.sleep(1.5)
        known = fleet.engine_ids()
        fleet.redis.flushall()
        try:
            eventually(lambda: fleet.engine_ids() == known)
            eventually(lambda: fleet.redis.exists("chorus:placer"))
            eventually(lambda: list(fleet.redis.scan_iter("chorus:demand:*")))
            held = [fleet.redis.hlen(f"chorus:engine:{{{engine}}}:residency") for engine in known]
            assert all(held)
        finally:
            stop.append(True)
        assert all(work.result() > 0 for work in loads)
