"""Services are killed and come back; what can go on goes on, and nobody has to mend anything."""

import itertools
import json
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from scripts.stack.config import DEMO
from tests.support.adapters import Adapter, stored, try_upload, upload
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("recovery"), pytest.mark.timeout(600)]
CHAT = "/v1/chat/completions"
LONG = {"model": "chorus-demo", "prompt": "A", "max_tokens": 2000, "ignore_eos": True, "stream": True}


def chat(tenant: Tenant, model: str = "chorus-demo", prompt: str = "Hello!", timeout: float = 120) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 24}
    with tenant.http() as http:
        return http.post(CHAT, json=body, timeout=timeout)


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def eventually(answers: Callable[[], httpx.Response], status: int = 200, seconds: float = 60) -> httpx.Response:
    until = time.monotonic() + seconds
    while (answer := answers()).status_code != status and time.monotonic() < until:
        time.sleep(0.1)
    assert answer.status_code == status, answer.text
    return answer


def new_name() -> str:
    return f"adapter-{random.randrange(10**9)}"


def test_requests_go_on_while_redis_is_away_and_after_it_is_back(stack: Stack, demo: Tenant) -> None:
    stack.kill("redis")
    for _ in range(5):
        assert text(chat(demo))
        assert text(chat(demo, "chorus-demo@reverse", "Reverse the word garden.")) == "nedrag"
    assert stack.metrics("gateway")["quota_degraded"] == 1
    time.sleep(7)  # past the registry's TTL
    assert text(chat(demo))
    stack.start("redis")
    stack.await_healthy("redis")
    for _ in range(5):
        assert text(chat(demo))
    until = time.monotonic() + 60
    while stack.metrics("gateway")["quota_degraded"] and time.monotonic() < until:
        assert text(chat(demo))
        time.sleep(0.2)
    assert stack.metrics("gateway")["quota_degraded"] == 0


def test_admin_writes_fail_closed_while_redis_is_away(stack: Stack) -> None:
    stack.kill("redis")
    with stack.http(stack.admin.key) as http:
        answer = http.post("/admin/v1/tenants", json={"id": new_name()})
        assert answer.status_code == 503
        assert answer.json()["error"]["message"]
        assert http.get("/admin/v1/tenants").status_code == 200
        stack.start("redis")
        stack.await_healthy("redis")
        eventually(lambda: http.post("/admin/v1/tenants", json={"id": new_name()}), 201)


def test_a_killed_engine_ends_its_streams_with_an_error_and_comes_back(stack: Stack, demo: Tenant) -> None:
    with demo.http() as http, http.stream("POST", "/v1/completions", json=LONG) as answer:
        lines = answer.iter_lines()
        events = [next(lines)]
        stack.kill("engine")
        events += [line for line in lines if line]
    assert events[-1] == "data: [DONE]"
    error = json.loads(events[-2].removeprefix("data: "))["error"]
    assert error["message"]
    assert error.keys() == {"message", "type", "param", "code"}

    refused = chat(demo, timeout=30)
    assert refused.status_code in (503, 504), refused.text

    stack.start("engine")
    stack.await_healthy("engine")
    eventually(lambda: chat(demo))
    assert text(chat(demo, "chorus-demo@reverse", "Reverse the word garden.")) == "nedrag"
    stack.await_healthy("gateway")


def test_a_request_that_waits_is_answered_by_the_engine_that_comes_back(stack: Stack, demo: Tenant) -> None:
    """What had sent no token is tried again, so a client sees a slow answer and no error."""

    def answer() -> httpx.Response:
        eventually(lambda: chat(demo))
        with ThreadPoolExecutor(1) as pool, stack.frozen("engine"):
            waiting = pool.submit(chat, demo, timeout=120)
            time.sleep(0.5)
            stack.kill("engine")
            stack.start("engine")
            answer = waiting.result()
        stack.await_healthy("engine")
        return answer

    # Requests wait for an engine for ten seconds, in which one does not start on a machine that does much else.
    assert text(eventually(answer, seconds=240))


def test_a_stopped_engine_lets_its_requests_finish(stack: Stack, demo: Tenant) -> None:
    body = {"model": "chorus-demo", "prompt": "A", "max_tokens": 200, "ignore_eos": True, "stream": True}
    with demo.http() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        stack.processes["engine"].terminate()
        events = [line for line in lines if line]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert stack.processes["engine"].wait(timeout=60) == 0


def test_a_killed_gateways_requests_are_in_the_ledger_with_what_the_engine_computed(stack: Stack, demo: Tenant) -> None:
    def used() -> dict[str, int]:
        with demo.http() as http:
            sums = http.get("/v1/usage", params={"by": "tenant"}).json()["data"]
        return {name: sums[0][name] if sums else 0 for name in ("requests", "completion_tokens", "computed_tokens")}

    assert text(chat(demo))
    time.sleep(1)  # it is written
    before, events = used(), 0
    with (
        demo.http() as http,
        suppress(httpx.TransportError),
        http.stream("POST", "/v1/completions", json=LONG) as answer,
    ):
        for count, line in enumerate(answer.iter_lines()):
            events += line.startswith("data: ")
            if count == 20:
                stack.kill("gateway")
    stack.start("gateway")
    stack.await_healthy("gateway")
    until = time.monotonic() + 60
    while (after := used())["requests"] == before["requests"] and time.monotonic() < until:
        time.sleep(0.2)
    grown = {name: after[name] - count for name, count in before.items()}
    assert grown["requests"] == 1
    assert 10 <= events <= grown["completion_tokens"] < 2000
    assert grown["computed_tokens"] >= grown["completion_tokens"]


def test_the_store_away_stops_uploads_but_not_answers(stack: Stack, demo: Tenant) -> None:
    reverse = "chorus-demo@reverse"
    assert text(chat(demo, reverse, "Reverse the word garden.")) == "nedrag"
    stack.kill("adapter-store")
    assert text(chat(demo))
    refused = try_upload(stack, "demo", new_name(), Adapter.random())
    assert refused.status_code == 503
    assert refused.json()["error"]["message"]
    stack.start("adapter-store")
    stack.await_healthy("adapter-store")
    name = new_name()
    until = time.monotonic() + 60
    while (answer := try_upload(stack, "demo", name, Adapter.random())).status_code != 201:
        assert time.monotonic() < until, answer.text
        time.sleep(0.2)
    eventually(lambda: chat(demo, f"chorus-demo@{name}"))


def test_base_requests_flow_while_an_adapter_is_first_fetched(stack: Stack, demo: Tenant) -> None:
    name = new_name()
    upload(demo, name, Adapter.random(seed=random.randrange(10**9)))
    with ThreadPoolExecutor(1) as pool, demo.http() as http:
        assert http.get(f"/v1/models/chorus-demo@{name}").status_code == 200  # the gateway now knows its digest
        with stack.frozen("adapter-store"):
            fetching = pool.submit(chat, demo, f"chorus-demo@{name}")
            for _ in range(5):
                assert text(chat(demo))
                assert text(chat(demo, "chorus-demo", "What can you do?"))
            assert not fetching.done()
        assert text(fetching.result())


def test_a_blob_that_rotted_fails_its_requests_alone(stack: Stack, demo: Tenant) -> None:
    adapter, name = Adapter.random(seed=random.randrange(10**9)), new_name()
    upload(demo, name, adapter)
    blobs = [path for path in (stack.config.state / "blobs").rglob("*") if path.is_file()]
    (blob,) = [path for path in blobs if path.read_bytes() == adapter.weights]
    blob.chmod(0o644)
    blob.write_bytes(adapter.weights[:-4] + b"\0\0\0\0")
    answer = chat(demo, f"chorus-demo@{name}")
    assert 500 <= answer.status_code < 600, answer.text
    assert answer.json()["error"]["message"]
    assert text(chat(demo))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_start_has_all_uploads_tenants_and_keys(stack: Stack, number: signal.Signals) -> None:
    tenant, name = stack.new_tenant(new_name()), new_name()
    upload(tenant, name, Adapter.read(DEMO / "adapters" / "reverse"))
    before = stored(stack, tenant.name), stored(stack, "demo")
    for service in reversed(list(stack.services)):
        stack.kill(service, number)
    stack.start()
    stack.await_healthy()
    assert (stored(stack, tenant.name), stored(stack, "demo")) == before
    assert text(chat(tenant, f"chorus-demo@{name}", "Reverse the word garden.")) == "nedrag"


def test_load_goes_on_through_a_restart_of_each_part_but_the_engine(stack: Stack, demo: Tenant) -> None:
    failures: list[str] = []
    running = True

    def load(model: str) -> int:
        for count in itertools.count():
            if not running:
                return count
            answer = chat(demo, model, "Reverse the word garden.")
            if answer.status_code != 200:
                failures.append(answer.text)
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, model) for model in ("chorus-demo", "chorus-demo@reverse") * 2]
        try:
            for name in ("redis", "adapter-store"):
                stack.restart(name)
                time.sleep(1)
        finally:
            running = False
        assert all(work.result() > 0 for work in loads)
    # The store tells what a name means: a moment without it may be a moment without new look-ups of names.
    assert all("adapter store" in failure for failure in failures), failures
