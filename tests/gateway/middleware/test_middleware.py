import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.app import FEW_BYTES, BodyLimits, create_app
from chorus_gateway.middleware import AccessMetrics
from tests.gateway.support.door import LIMITS, Door
from tests.gateway.support.gateway import eventually, served


async def test_every_answer_has_an_id_of_ours_and_a_time(door: Door) -> None:
    first = await door.http.get("/test/who", headers={"x-request-id": "mine"})
    second = await door.http.get("/nothing")
    assert re.fullmatch("req_[0-9a-f]{32}", first.headers["x-request-id"])
    assert first.json() == {"request_id": first.headers["x-request-id"]}
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert 0 <= int(first.headers["openai-processing-ms"]) < 10_000


def counted(door: Door, route: str, status: int) -> float:
    labels = {"route": route, "status": str(status)}
    return door.parts.metrics.registry.get_sample_value("http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_route_not_by_path(door: Door) -> None:
    for name in ("a", "b", "c"):
        await door.http.get(f"/test/boom/{name}")
        await door.http.get(f"/nothing/{name}")
    await door.http.get("/admin/v1/tenants/acme")
    assert counted(door, "/test/boom/{name}", 500) == 3
    assert counted(door, "unmatched", 404) == 3
    assert counted(door, "/admin/v1/tenants/{tenant_id}", 401) == 1


async def test_a_request_without_an_answer_is_counted_as_499() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def never() -> Message:
        raise AssertionError

    async def nobody(message: Message) -> None:
        raise AssertionError

    registry = CollectorRegistry()
    counter = Counter("requests", "", ["route", "status"], registry=registry)
    with pytest.raises(asyncio.CancelledError):
        await AccessMetrics(silent, counter)({"type": "http"}, never, nobody)
    assert registry.get_sample_value("requests_total", {"route": "unmatched", "status": "499"}) == 1


@pytest.mark.parametrize("path", ["/test/json", "/test/raw"])
async def test_bodies_up_to_the_limit_pass_and_larger_ones_do_not(door: Door, path: str) -> None:
    async def streamed(size: int) -> AsyncIterator[bytes]:
        body = b'{"name":"' + b"x" * (size - 11) + b'"}'
        for start in range(0, size, 1000):
            yield body[start : start + 1000]

    async def post(content: AsyncIterator[bytes] | bytes) -> httpx.Response:
        return await door.http.post(path, content=content, headers={"content-type": "application/json"})

    assert (await post(streamed(LIMITS.default))).status_code == 200
    for too_large in (streamed(LIMITS.default + 1), bytes(LIMITS.default + 1)):
        answer = await post(too_large)
        assert answer.status_code == 413
        assert f"at most {LIMITS.default} bytes" in answer.json()["error"]["message"]


class Named(BaseModel):
    name: str


async def test_requests_without_prompts_have_a_limit_of_their_own(door: Door) -> None:
    with_prompts, others = APIRouter(route_class=DirectRoute), APIRouter()

    @with_prompts.post("/test/prompts", response_model=None)
    async def prompts(request: Request, body: Named) -> Response:
        return Response(str(len(body.name)))

    @others.post("/test/other")
    async def other(body: Named) -> int:
        return len(body.name)

    app = create_app(door.parts, BodyLimits(default=2 * FEW_BYTES, upload=1 << 20), [with_prompts, others])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        for path, most in (("/test/prompts", 2 * FEW_BYTES), ("/test/other", FEW_BYTES)):
            fits = await http.post(path, json={"name": "x" * (most - 100)})
            assert (fits.status_code, fits.text) == (200, str(most - 100))
            assert (await http.post(path, json={"name": "x" * most})).status_code == 413


async def test_a_limit_reached_on_a_real_connection_is_told(door: Door) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(1000)
            await asyncio.sleep(0.001)

    async with served(door.app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/test/raw", content=endless())
    assert answer.status_code == 413


async def test_a_client_that_leaves_while_it_sends_disturbs_nobody(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(door.app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /test/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await eventually(lambda: counted(door, "/test/raw", 499) == 1)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
