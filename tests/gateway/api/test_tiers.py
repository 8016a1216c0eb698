"""service_tier and x-request-timeout, as clients see them."""

from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from chorus_gateway.values import Band, Principal, Scope, Tenant
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway

ASK: dict[str, Any] = {"model": "chorus-demo", "messages": [{"role": "user", "content": "hello"}]}


def allow(gateway: Gateway, *bands: Band) -> None:
    tenant = Tenant("acme", bands=frozenset(bands))
    gateway.keys.principals[KEY] = Principal("k1", frozenset({Scope.INFER}), tenant)


@pytest.mark.parametrize("tier", ["priority", "flex"])
async def test_a_band_that_is_not_the_tenants_is_refused(client: AsyncOpenAI, gateway: Gateway, tier: Any) -> None:
    allow(gateway, Band.DEFAULT)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await client.chat.completions.create(**ASK, service_tier=tier)
    assert refused.value.param == "service_tier"
    assert refused.value.code == "service_tier_not_allowed"
    assert f"'{tier}', only 'default'" in refused.value.message
    answer = await client.chat.completions.create(**ASK, service_tier="default")
    assert answer.service_tier == "default"


@pytest.mark.parametrize(("bands", "used"), [((Band.FLEX, Band.PRIORITY), "flex"), ((Band.PRIORITY,), "priority")])
async def test_left_to_the_gateway_it_is_one_that_the_tenant_may_use(
    client: AsyncOpenAI, gateway: Gateway, bands: tuple[Band, ...], used: str
) -> None:
    allow(gateway, *bands)
    for tier in (openai.omit, "auto"):
        answer = await client.chat.completions.create(**ASK, service_tier=tier)
        assert answer.service_tier == used
    chunks = [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]
    assert {chunk.service_tier for chunk in chunks} == {used}


async def test_a_request_has_the_time_that_it_names(url: str, engine: FakeEngine) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-timeout": "0.2"}
    engine.replier = lambda submit: Reply([], hang=True)
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=ASK, headers=headers)
    assert response.status_code == 504
    assert response.json()["error"]["type"] == "timeout_error"
    assert engine.submits[0].timeout_ms <= 200


async def test_it_has_no_more_than_the_gateway_allows(url: str, engine: FakeEngine) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-timeout": "1e6"}
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=ASK, headers=headers)
    assert response.status_code == 200
    assert engine.submits[0].timeout_ms <= 600_000


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", ""])
async def test_what_is_no_time_is_refused(url: str, text: str) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-timeout": text}
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{url}/v1/chat/completions", json=ASK, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout"
