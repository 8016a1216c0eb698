"""A client that goes takes its request with it, as far as the engine."""

import time
from collections.abc import Callable

import httpx
import pytest

from tests.support.failing import eventually
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
TOKENS = 2000  # they take seconds
LONG = {"model": "chorus-demo", "prompt": "A", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}


def is_idle(stack: Stack) -> bool:
    return not stack.metrics("engine")["num_requests_running"]


def go_while_streaming(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/completions", json=LONG) as answer:
        next(answer.iter_lines())
        time.sleep(0.1)


def go_while_waiting(http: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/completions", json=LONG | {"stream": False}, timeout=0.3)


@pytest.mark.parametrize("go", [go_while_streaming, go_while_waiting])
def test_a_disconnect_cancels_in_the_engine(stack: Stack, demo: Tenant, go: Callable[[httpx.Client], None]) -> None:
    before = stack.metrics("engine")["generation_tokens_total"]
    with demo.http() as http:
        go(http)
    eventually(lambda: is_idle(stack))
    assert stack.metrics("engine")["generation_tokens_total"] - before < TOKENS
    after = stack.metrics("engine")
    assert after["kv_cache_usage_perc"] == 0
    time.sleep(0.1)
    assert stack.metrics("engine")["generation_tokens_total"] == after["generation_tokens_total"]
