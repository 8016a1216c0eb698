"""The process that main composes: every part at once, with an engine that answers what it is told."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from redis.asyncio import Redis

from chorus_gateway.auth import generate_key
from tests.adapter_store.support import make_upload
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.gateway import eventually
from tests.gateway.support.process import gateway_process
from tests.gateway.support.redis_server import RedisServer, free_port, redis_client
from tests.gateway.support.tokenizers import END, bundle, ids

pytestmark = pytest.mark.slow
ADMIN = generate_key().text


@dataclass
class Stack:
    url: str
    process: asyncio.subprocess.Process
    engine: FakeEngine
    store: FakeStore
    redis: RedisServer
    admin: httpx.AsyncClient

    async def client(self, tenant: str, **limits: int) -> openai.AsyncOpenAI:
        """Of a new tenant."""
        (await self.admin.post("/tenants", json={"id": tenant, "limits": limits})).raise_for_status()
        key = (await self.admin.post(f"/tenants/{tenant}/keys", json={})).json()["key"]
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def upload(self, tenant: str, name: str) -> str:
        """The digest."""
        files = make_upload()
        answer = await self.admin.post(
            "/adapters",
            data={"tenant": tenant, "name": name, "model": "chorus-demo"},
            files={"adapter_config": files.config_bytes, "adapter_model": files.weights_bytes},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["digest"])


@pytest.fixture
async def stack(tmp_path: Path, own_redis_server: RedisServer) -> AsyncIterator[Stack]:
    engine = await FakeEngine(bundle(), replier=lambda submit: Reply([*ids("hello world"), END])).start()
    store = await FakeStore("chorus-demo").start()
    async with _gateway(tmp_path, own_redis_server, engine, store) as stack:
        yield stack
    await store.stop()
    await engine.stop()


@asynccontextmanager
async def _gateway(folder: Path, redis: RedisServer, engine: FakeEngine, store: FakeStore) -> AsyncIterator[Stack]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    async with gateway_process(
        folder, redis, store, port=port, admin_key=ADMIN, CHORUS_ENGINE_ADDRESSES=engine.address
    ) as (process, admin):
        await _ready(url)
        yield Stack(url, process, engine, store, redis, admin)


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        for _ in range(1200):
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError("the gateway does not become ready")


async def _arrivals(redis: Redis, digest: str) -> int:
    windows = await redis.keys(f"chorus:demand:{{{'b' * 64}}}:*")
    return sum([int(await redis.hget(window, f"a:{digest}") or 0) for window in windows])


async def say(client: openai.AsyncOpenAI, model: str = "chorus-demo") -> str | None:
    answer = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=20
    )
    return answer.choices[0].message.content


async def test_from_an_upload_to_an_answer_on_it(stack: Stack) -> None:
    async with await stack.client("acme") as client:
        assert await say(client) == "hello world"
        with pytest.raises(openai.NotFoundError) as missing:
            await say(client, "chorus-demo@shout")
        digest = await stack.upload("acme", "shout")
        assert await say(client, "chorus-demo@shout") == "hello world"  # at once, although it was asked for before
        assert stack.engine.submits[-1].adapter_digest == digest
        assert len(stack.engine.submits[-1].cache_namespace) == 32
        assert stack.engine.submits[-1].cache_namespace != stack.engine.submits[0].cache_namespace
        assert [model.id async for model in client.models.list()] == ["chorus-demo", "chorus-demo@shout"]

    async with await stack.client("rival") as rival:
        with pytest.raises(openai.NotFoundError) as hidden:
            await say(rival, "chorus-demo@shout")
        assert str(hidden.value) == str(missing.value)  # as if it did not exist
        assert [model.id async for model in rival.models.list()] == ["chorus-demo"]


async def test_claims_and_demand_reach_redis(stack: Stack) -> None:
    second = await FakeEngine(bundle(), replier=stack.engine.replier, engine_id="engine-2").start()
    try:
        async with await stack.client("acme") as client, redis_client(stack.redis.url) as redis:
            await redis.zadd("chorus:engines", {"engine-2": 1})
            await redis.hset("chorus:engine:{engine-2}", mapping={"address": second.address, "draining": "0"})
            await eventually(lambda: second.sessions == 1)
            digest = await stack.upload("acme", "shout")
            assert await say(client, "chorus-demo@shout") == "hello world"
            engines = {engine.description.engine_id: engine for engine in (stack.engine, second)}
            claimed = engines[str(await redis.get(f"chorus:claim:{{{digest}}}"))]
            assert claimed.adapters.fetches == {digest: 1}
            async with asyncio.timeout(60):
                while not (arrivals := await _arrivals(redis, digest)):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.05)
            assert arrivals == 1
            assert await gauge(stack, 'adapter_claims_total{result="won"}') == 1
    finally:
        await second.stop()


async def test_limits_hold_and_are_told(stack: Stack) -> None:
    async with await stack.client("acme", requests_per_minute=2, tokens_per_minute=1000) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="chorus-demo", messages=[{"role": "user", "content": "hello"}], max_tokens=20
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        await say(client)
        with pytest.raises(openai.RateLimitError) as limited:
            await say(client)
        assert limited.value.code == "rate_limit_exceeded"
        assert 0 < int(limited.value.response.headers["retry-after"]) <= 30
        (await stack.admin.patch("/tenants/acme", json={"limits": {"requests_per_minute": None}})).raise_for_status()
        await say(client)


async def test_an_administrators_key_asks_no_model(stack: Stack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=ADMIN, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await say(client)


async def test_it_answers_while_redis_restarts(stack: Stack) -> None:
    async with await stack.client("acme", requests_per_minute=1000, concurrent_requests=50) as client:
        await say(client)
        stack.redis.stop()
        for _ in range(5):
            assert await say(client) == "hello world"
        assert await gauge(stack, "quota_degraded") == 1
        stack.redis.start()
        async with asyncio.timeout(60):
            while await gauge(stack, "quota_degraded"):
                assert await say(client) == "hello world"
                await asyncio.sleep(0.1)


async def test_a_stream_ends_with_an_error_when_the_gateway_is_told_to_end(stack: Stack) -> None:
    stack.engine.replier = lambda submit: Reply(ids("hello"), hang=True)
    async with await stack.client("acme") as client:
        headers = {"authorization": f"Bearer {client.api_key}"}
    body = {"model": "chorus-demo", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", f"{stack.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        events: list[str] = []
        async for line in answer.aiter_lines():
            if not line:
                continue
            events.append(line.removeprefix("data: "))
            if "hello" in line:
                stack.process.send_signal(signal.SIGTERM)
    assert events[-1] == "[DONE]"
    assert "shutting down" in json.loads(events[-2])["error"]["message"]
    assert await asyncio.wait_for(stack.process.wait(), 60) == 0
    await eventually(lambda: not stack.engine.running)


async def gauge(stack: Stack, name: str) -> float:
    async with httpx.AsyncClient(base_url=stack.url) as http:
        for line in (await http.get("/metrics")).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise AssertionError(f"no metric {name}")
