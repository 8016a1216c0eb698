"""Days and budgets through a gateway's own process, its ledger and a real Redis that is emptied, restarted and away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.front_door import FrontDoor, body, eventually, front_door

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("front door"), pytest.mark.timeout(600)]

TOKENS = 10  # of an answer
DAY = 100


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    with front_door(tmp_path_factory.mktemp("budgets"), engines=1) as door:
        eventually(lambda: door.ask().status_code == 200)
        yield door


def limited(door: FrontDoor, tenant: str, **limits: Any) -> str:
    """A key of a new tenant."""
    with door.http(door.admin) as http:
        assert http.post("/admin/v1/tenants", json={"id": tenant, "limits": limits}).status_code == 201
        answer = http.post(f"/admin/v1/tenants/{tenant}/keys", json={"scopes": ["infer"]})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])


def asked(door: FrontDoor, key: str) -> httpx.Response:
    """Its answer, once Redis is heard in time: the machine may be busy, and what cannot be counted is not begun."""
    answers = [door.ask(tokens=TOKENS, key=key)]

    def heard() -> bool:
        if answers[-1].status_code == 503:
            answers.append(door.ask(tokens=TOKENS, key=key))
        return answers[-1].status_code != 503

    eventually(heard)
    return answers[-1]


def used(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["total_tokens"])


def is_spent(answer: httpx.Response) -> bool:
    if answer.status_code == 200:
        return False
    assert (answer.status_code, answer.headers.get("x-should-retry")) == (429, "false"), answer.text
    assert answer.json()["error"]["code"] == "insufficient_quota"
    return True


def test_a_day_is_spent_once_however_often_redis_is_emptied_or_away(door: FrontDoor) -> None:
    key = limited(door, "daily", tokens_per_day=DAY)
    each = used(asked(door, key))
    total = each
    for turn in range(DAY // each - 1):
        if turn % 3 == 0:
            door.redis.flushall()
        if turn % 3 == 1:
            door.redis_server.stop()
            refused = door.ask(tokens=TOKENS, key=key)
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True), refused.text
            door.redis_server.start()
            eventually(lambda: door.ask(tokens=1).status_code == 200 and not door.gauge("quota_degraded"))
        total += used(asked(door, key))
    assert total <= DAY < total + each
    assert is_spent(asked(door, key))
    door.redis.flushall()
    refused = asked(door, key)
    assert is_spent(refused)
    assert f"{total} used" in refused.json()["error"]["message"]
    assert door.ask().status_code == 200  # others go on


def test_many_at_once_spend_no_more_than_a_budget_also_over_a_loss(door: FrontDoor) -> None:
    with door.http(door.admin) as http:
        price = {"model": "chorus-demo", "input": "0", "output": "1000000"}  # a token costs 1
        assert http.put("/admin/v1/prices", json=price).status_code == 200
    key = limited(door, "frugal", budget="100", budget_period="month")

    def one(number: int) -> int:
        while True:
            with door.http(key) as http:
                answer = http.post("/v1/completions", json=body(tokens=TOKENS, pause=0.02))
            if answer.status_code == 200:
                return int(answer.json()["usage"]["completion_tokens"])
            if answer.headers.get("x-should-retry") == "false":
                return 0
            time.sleep(0.2)  # held by others, who may give it back

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(one, number) for number in range(24)]
        time.sleep(0.5)
        door.redis.flushall()
        bought = sum(each.result() for each in asked)
    assert 70 <= bought <= 100  # what ends while it is counted may count twice
    eventually(lambda: not door.unrest())
