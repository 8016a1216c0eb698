"""A client that goes takes its request with it, as far as the engine."""

import time
from collections.abc import Callable

import httpx
import pytest

from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
TOKENS = 2000
LONG = {"model": "chorus-demo", "prompt": "A", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
ATTEMPTS = 5


def seconds_until_idle(stack: Stack, limit: float = 10.0) -> float:
    start = time.monotonic()
    while stack.metrics("engine")["num_requests_running"]:
        assert time.monotonic() - start < limit, "the engine still computes for a client that is gone"
    return time.monotonic() - start


def go_while_streaming(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/completions", json=LONG) as answer:
        next(answer.iter_lines())
        time.sleep(0.1)


def go_while_waiting(http: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/completions", json=LONG | {"stream": False}, timeout=0.3)


@pytest.mark.parametrize("go", [go_while_streaming, go_while_waiting])
def test_a_disconnect_cancels_in_the_engine(stack: Stack, demo: Tenant, go: Callable[[httpx.Client], None]) -> None:
    times = []
    for _ in range(ATTEMPTS):
        before = stack.metrics("engine")["generation_tokens_total"]
        with demo.http() as http:
            go(http)
        assert stack.metrics("engine")["generation_tokens_total"] - before < TOKENS
        times.append(seconds_until_idle(stack))
    # Other tests share this machine's cores, so that one slow attempt says nothing; the best one must be in time.
    assert min(times) < 0.1, times
    after = stack.metrics("engine")
    assert after["kv_cache_usage_perc"] == 0
    time.sleep(0.1)
    assert stack.metrics("engine")["generation_tokens_total"] == after["generation_tokens_total"]
