"""Limits as a client meets them: headers, the two kinds of 429, and what is charged."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, RateLimitError

from chorus_gateway.tenants.terms import ModelTerms
from chorus_gateway.values import NANO, Limits, Period, Price, Principal, Scope, Tenant
from tests.gateway.support.fake_engine import FakeEngine
from tests.gateway.support.gateway import KEY, FreeTerms, Gateway, GatewaySettings, running_gateway
from tests.gateway.support.tokenizers import ids

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PRICE = Price(input=2_000_000, cached=500_000, output=10_000_000)  # 2, 0.5 and 10 for a million tokens


@pytest.fixture
def terms() -> FreeTerms:
    """Free until the test sets a price."""
    return FreeTerms()


@pytest.fixture
async def gateway(engine: FakeEngine, terms: FreeTerms) -> AsyncIterator[Gateway]:
    async with running_gateway([engine], GatewaySettings(terms=terms)) as gateway:
        yield gateway
        await gateway.settles()


def limit(gateway: Gateway, tenant: Limits, key: Limits | None = None) -> None:
    who = Principal("k1", frozenset({Scope.INFER}), Tenant("acme", tenant), limits=key or Limits())
    gateway.keys.principals[KEY] = who


async def ask(url: str, **fields: Any) -> httpx.Response:
    body = {"model": "chorus-demo", "messages": HELLO, "max_tokens": 10, **fields}
    async with httpx.AsyncClient() as http:
        return await http.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_tell_of_the_tightest_limit(gateway: Gateway, url: str, stream: bool) -> None:
    limit(gateway, Limits(requests_per_minute=100, tokens_per_minute=500), Limits(requests_per_minute=3))
    answer = await ask(url, stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert answer.headers["x-ratelimit-reset-requests"] == "20s"
    assert answer.headers["x-ratelimit-limit-tokens"] == "500"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == 500 - gateway.quota.reserved[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit_says_when_to_come_back(gateway: Gateway, url: str, stream: bool) -> None:
    limit(gateway, Limits(tokens_per_minute=10_000), Limits(requests_per_minute=1))
    assert (await ask(url)).status_code == 200
    refused = await ask(url, stream=stream)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "this key on requests per minute: limit 1, left 0, requested 1" in error["message"]
    assert 50 < int(refused.headers["retry-after"]) <= 60
    assert 50_000 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-limit-tokens"] == "10000"
    assert "x-should-retry" not in refused.headers


async def test_a_spent_budget_is_not_to_be_retried(gateway: Gateway, url: str, terms: FreeTerms) -> None:
    terms.terms = ModelTerms(PRICE)
    limit(gateway, Limits(requests_per_minute=50, budget=165_000, budget_period=Period.DAY))
    assert (await ask(url)).status_code == 200
    refused = await ask(url, max_tokens=15)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "budget of 0.000165 a day of tenant 'acme' is spent" in error["message"]
    assert error["message"].endswith("T00:00:00Z.")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-limit-requests"] == "50"
    assert "retry-after" not in refused.headers
    assert len(gateway.quota.settled) == 1


async def test_the_openai_client_gives_up_at_once_when_a_quota_is_spent(gateway: Gateway, url: str) -> None:
    limit(gateway, Limits(tokens_per_day=40))
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=3) as client:
        await client.chat.completions.create(model="chorus-demo", messages=HELLO, max_tokens=10)
        before = gateway.metrics.registry.get_sample_value("num_requests_running")
        with pytest.raises(RateLimitError, match="tokens per day"):
            await client.chat.completions.create(model="chorus-demo", messages=HELLO, max_tokens=30)
        assert before == 0
        assert len(gateway.quota.reserved) == 1


async def test_what_can_never_fit_is_a_bad_request(gateway: Gateway, url: str, terms: FreeTerms) -> None:
    terms.terms = ModelTerms(PRICE)
    limit(gateway, Limits(budget=100_000))
    refused = await ask(url, max_tokens=100)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == ("max_tokens", "request_too_large")
    assert "more than the whole budget of 0.0001 a month of tenant 'acme'" in error["message"]


async def test_an_adapter_has_limits_of_its_own(gateway: Gateway, url: str, terms: FreeTerms) -> None:
    terms.terms = ModelTerms(PRICE, Limits(requests_per_minute=1))
    assert (await ask(url, model="chorus-demo@shout")).status_code == 200
    refused = await ask(url, model="chorus-demo@shout")
    assert refused.status_code == 429
    assert "for adapter '" in refused.json()["error"]["message"]
    assert (await ask(url)).status_code == 200


async def test_a_request_is_charged_for_what_it_used(
    gateway: Gateway, url: str, engine: FakeEngine, terms: FreeTerms
) -> None:
    terms.terms = ModelTerms(PRICE)
    limit(gateway, Limits(budget=NANO))
    usage = (await ask(url)).json()["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    fresh = usage["prompt_tokens"] - cached
    [wanted], [cost] = gateway.quota.wanted, gateway.quota.costs
    assert cost == fresh * 2_000 + cached * 500 + usage["completion_tokens"] * 10_000
    assert wanted.cost == usage["prompt_tokens"] * 2_000 + 10 * 10_000
    assert usage["completion_tokens"] == len(ids("hello world")) + 1


@pytest.mark.parametrize(
    ("tenant", "key", "most"),
    [
        (Limits(), Limits(tokens_per_day=60), 60),
        (Limits(tokens_per_minute=90), Limits(tokens_per_minute=80), 80),
        (Limits(budget=1_000_000), Limits(), None),
    ],
)
async def test_without_a_maximum_the_largest_that_quotas_could_grant_is_reserved(
    gateway: Gateway, url: str, engine: FakeEngine, terms: FreeTerms, tenant: Limits, key: Limits, most: int | None
) -> None:
    terms.terms = ModelTerms(PRICE)
    limit(gateway, tenant, key)
    assert (await ask(url, max_tokens=None)).status_code == 200
    [wanted] = gateway.quota.wanted
    if most is not None:
        assert wanted.tokens == most
    else:
        assert 1_000_000 - 10_000 < wanted.cost <= 1_000_000


async def test_a_tenants_own_default_maximum(gateway: Gateway, url: str, engine: FakeEngine) -> None:
    who = gateway.keys.principals[KEY]
    assert who.tenant is not None
    gateway.keys.principals[KEY] = replace(who, tenant=replace(who.tenant, default_max_tokens=7))
    assert (await ask(url, max_tokens=None)).status_code == 200
    assert engine.submits[0].sampling.max_tokens == 7
