"""What operators see: metrics by the names they know, and one trace through all services."""

import secrets
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support.adapters import Adapter, upload
from tests.support.otlp import Receiver
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]

NAMES = {
    "gateway": {
        "e2e_request_latency_seconds_count",
        "time_to_first_token_seconds_count",
        "time_per_output_token_seconds_count",
        "inter_token_latency_seconds_count",
        "request_queue_time_seconds_count",
        "prompt_tokens_total",
        "generation_tokens_total",
        "request_success_total",
        "num_requests_waiting",
        "num_requests_running",
        "http_requests_total",
        "quota_degraded",
    },
    "engine": {
        "num_requests_running",
        "num_requests_waiting",
        "gpu_utilization",
        "kv_cache_usage_perc",
        "num_preemptions_total",
        "prompt_tokens_total",
        "generation_tokens_total",
        "iteration_tokens_total_count",
        "request_queue_time_seconds_count",
        "request_prefill_time_seconds_count",
        "request_decode_time_seconds_count",
        "lora_resident",
        "lora_loads_total",
        "lora_evictions_total",
    },
    "adapter-store": {"adapter_uploads_total", "adapter_fetch_bytes_total", "adapter_count"},
}
SPANS = {
    ("chorus-gateway", "gateway.request"),
    ("chorus-gateway", "gateway.queue"),
    ("chorus-gateway", "gateway.engine"),
    ("chorus-engine", "engine.request"),
    ("chorus-engine", "engine.queued"),
    ("chorus-engine", "engine.prefill"),
    ("chorus-engine", "engine.decode"),
    ("chorus-engine", "adapter.fetch"),
    ("chorus-adapter-store", "adapter.locate"),  # the engine reads the volume that the store has its blobs on
}


def ask(tenant: Tenant, model: str, **headers: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4, "ignore_eos": True}
    with tenant.http() as http:
        answer = http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["completion_tokens"])


@pytest.mark.parametrize("service", NAMES)
def test_metrics_have_the_names_that_operators_know(stack: Stack, demo: Tenant, service: str) -> None:
    ask(demo, "chorus-demo")
    assert NAMES[service] <= stack.metrics(service).keys()


@pytest.mark.parametrize("service", ["gateway", "engine"])
def test_generated_tokens_are_counted(stack: Stack, demo: Tenant, service: str) -> None:
    before = stack.metrics(service)["generation_tokens_total"]
    generated = ask(demo, "chorus-demo")
    assert stack.metrics(service)["generation_tokens_total"] - before == generated == 4


@pytest.fixture
def nothing_ahead(stack: Stack) -> Iterator[None]:
    """No adapter is fetched before it is asked for."""
    stack.environment["CHORUS_PLACEMENT"] = "off"
    stack.restart("adapter-store", signal.SIGTERM)
    yield
    del stack.environment["CHORUS_PLACEMENT"]
    stack.restart("adapter-store", signal.SIGTERM)


@pytest.mark.usefixtures("nothing_ahead")
def test_one_trace_joins_gateway_queue_engine_and_store(receiver: Receiver, new_tenant: Callable[[], Tenant]) -> None:
    tenant, trace, caller = new_tenant(), secrets.token_hex(16), secrets.token_hex(8)
    upload(tenant, "fresh", Adapter.random(seed=secrets.randbits(32)))  # no engine has it yet: it has to be fetched
    ask(tenant, "chorus-demo@fresh", traceparent=f"00-{trace}-{caller}-01")

    spans = receiver.trace(trace, until=SPANS)
    assert {(span.service, span.name) for span in spans} >= SPANS
    ids = {span.id for span in spans}
    roots = [span for span in spans if span.parent == caller]
    assert [span.name for span in roots] == ["gateway.request"]
    assert all(span.parent in ids for span in spans if span not in roots)
    ends = {span.name: span.end for span in spans}
    assert ends["engine.queued"] <= ends["engine.prefill"] <= ends["engine.decode"] <= ends["gateway.request"]
