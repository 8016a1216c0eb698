"""Bodies of many values, through the application as it is served: read in another thread, and worded as small ones."""

import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware

from chorus_gateway.api import large_bodies
from chorus_gateway.api.direct import DirectRoutes
from chorus_gateway.api.json_in_turns import read_in_turns
from tests.gateway.support.gateway import KEY, Gateway, served

MANY = 40_000  # values


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    gateway.app.user_middleware.append(Middleware(DirectRoutes, routes=gateway.routes, auth=gateway.keys))
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    async with served(gateway.app) as url, httpx.AsyncClient(base_url=url, headers=headers) as http:
        yield http


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that read large bodies."""
    found: list[str] = []

    def noted(content: bytes) -> object:
        found.append(threading.current_thread().name)
        return read_in_turns(content)

    monkeypatch.setattr(large_bodies, "read_in_turns", noted)
    return found


def padded(body: dict[str, Any] | str) -> bytes:
    """With a field that nobody reads, in front."""
    text = body if isinstance(body, str) else json.dumps(body)
    return f'{{"padding": {[1] * MANY}, {text[1:]}'.encode()


async def test_they_are_answered_as_others(http: httpx.AsyncClient, threads: list[str]) -> None:
    body = {"model": "chorus-demo", "prompt": "hello"}
    small = await http.post("/v1/completions", json=body)
    large = await http.post("/v1/completions", content=padded(body))
    assert (small.status_code, large.status_code) == (200, 200), large.text
    assert large.json()["choices"] == small.json()["choices"]
    assert len(threads) == 1
    assert threads[0].startswith("large-bodies")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "chorus-demo", "prompt": 5},
        {"model": "chorus-demo", "prompt": "hello", "n": "x"},
        {"prompt": "hello"},
        {"model": "chorus-demo", "prompt": "hello", "max_tokens": -1},
        '{"model": "chorus-demo", "prompt": "hello", "seed": ' + "1" * 5000 + "}",
    ],
)
async def test_they_are_refused_as_others(http: httpx.AsyncClient, threads: list[str], body: Any) -> None:
    small = await http.post("/v1/completions", content=body if isinstance(body, str) else json.dumps(body))
    large = await http.post("/v1/completions", content=padded(body))
    assert (small.status_code, large.status_code) == (400, 400)
    assert large.json() == small.json()
    assert len(threads) == 1


async def test_what_is_no_json_is_told_where(http: httpx.AsyncClient) -> None:
    content = padded({"model": "chorus-demo"})
    broken = await http.post("/v1/completions", content=content[:-1] + b",}")
    assert broken.status_code == 400
    assert f"property name enclosed in double quotes at character {len(content)}." in broken.json()["error"]["message"]
    cut = await http.post("/v1/completions", content=content[:-1] + b'"\xff"}')
    assert f"not valid UTF-8: byte {len(content)}" in cut.json()["error"]["message"]
    nests = await http.post("/v1/completions", content=b"[" + b"[]," * 100_000 + b"1]")
    assert "more than 100000 lists and objects" in nests.json()["error"]["message"]


async def test_nobody_without_a_key_has_one_read(http: httpx.AsyncClient, threads: list[str]) -> None:
    refused = await http.post("/v1/completions", content=b"[" + b"1," * MANY, headers={"authorization": "Bearer none"})
    assert refused.status_code == 401
    assert not threads


async def test_long_texts_of_few_values_are_read_at_once(http: httpx.AsyncClient, threads: list[str]) -> None:
    refused = await http.post("/v1/completions", json={"model": "chorus-demo", "prompt": "a" * 500_000})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert not threads
    tokens = await http.post("/v1/completions", json={"model": "chorus-demo", "prompt": [1] * MANY})
    assert f"the prompt has {MANY} tokens" in tokens.json()["error"]["message"]
    assert len(threads) == 1
