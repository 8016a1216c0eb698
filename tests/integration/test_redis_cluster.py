"""A whole stack on Redis Cluster's rules: one node that has all slots, and refuses every command across two of them."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import redis

from scripts.stack import envfile
from scripts.stack.redis import find_server
from scripts.stack.seed import TENANT
from tests.support.adapters import Adapter, upload
from tests.support.failing import eventually
from tests.support.fleet import reading, redis_of, running_fleet
from tests.support.stack import Stack, Tenant, free_ports

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600)]
SLOTS = 16_384
CROSSED = "hash to the same slot"  # as redis-py words CROSSSLOT


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    server, folder, (port,) = find_server(), tmp_path_factory.mktemp("redis"), free_ports(1)
    assert server is not None
    options = ("--cluster-enabled", "yes", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    process = subprocess.Popen([server, *options, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    client: Any = redis.Redis.from_url(url, decode_responses=True)
    try:
        eventually(lambda: _answers(client))
        client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        yield url
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=60)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture(scope="module")
def stack(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"CHORUS_REDIS_URL": cluster}
    with running_fleet(tmp_path_factory.mktemp("stack"), settings, engines=2) as stack:
        yield stack


@pytest.fixture(scope="module")
def demo(stack: Stack) -> Tenant:
    return Tenant(stack, TENANT, envfile.read(stack.config.state / "env")["CHORUS_API_KEY"])


def ask(tenant: Tenant, model: str) -> str:
    with tenant.client() as client:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Reverse the word garden."}],
            temperature=0,
            max_tokens=24,
        )
    return str(answer.choices[0].message.content)


def test_everything_that_redis_is_for_works(stack: Stack, demo: Tenant) -> None:
    """Registry, residency, claims, demand, quotas, events, the placer's lock, pins and commands cross no slots."""
    client = redis_of(stack)
    with pytest.raises(redis.ResponseError, match=CROSSED):
        client.mget("a", "b")

    described = upload(demo, "mine", Adapter.random(seed=7))
    assert ask(demo, "chorus-demo@reverse") == "nedrag"
    assert ask(demo, "chorus-demo@mine")
    eventually(lambda: len(client.zrange("chorus:engines", 0, -1)) == 2)
    eventually(lambda: list(client.scan_iter("chorus:demand:*")))
    eventually(lambda: client.exists("chorus:placer"))

    _pin(stack, demo, "mine", described["digest"])
    _limited(stack)
    _quiet(stack)


def _pin(stack: Stack, tenant: Tenant, name: str, digest: str) -> None:
    """On every engine, by the placer's commands."""
    path = f"/admin/v1/adapters/{tenant.name}/{name}/pin"
    with stack.http(stack.admin.key) as http:
        http.put(path, json={"tier": "gpu"}).raise_for_status()
        eventually(lambda: http.get(path).json()["held"] == 2, why=lambda: http.get(path).text)
        assert len(http.get(f"/admin/v1/adapters/{tenant.name}/{name}/residency").json()["data"]) == 2
        assert http.delete(path).status_code == 204
    assert reading(stack, ["adapter-store"], "placer_commands_total") > 0
    assert digest


def _limited(stack: Stack) -> None:
    """A tenant's quota is counted in Redis, in one script."""
    tenant = stack.new_tenant("limited")
    with stack.http(stack.admin.key) as http:
        http.patch("/admin/v1/tenants/limited", json={"limits": {"requests_per_minute": 1}}).raise_for_status()
    time.sleep(1)
    ask(tenant, "chorus-demo")
    with pytest.raises(openai.RateLimitError):
        ask(tenant, "chorus-demo")
    assert stack.metrics("gateway")["quota_degraded"] == 0


def _quiet(stack: Stack) -> None:
    logs = {name: stack.config.log(name).read_text(errors="replace") for name in stack.services}
    complaints = [
        f"{name}: {line[:300]}"
        for name, text in logs.items()
        for line in text.splitlines()
        if "CROSSSLOT" in line or CROSSED in line or "is away" in line
    ]
    assert complaints == []
