"""The gateway's metrics. Times are in seconds; no label carries a name that a tenant chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from chorus_gateway.telemetry.histogram import QuickHistogram
from chorus_gateway.telemetry.tenant_tokens import TenantTokens

REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.4, 0.75, 1, 2.5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a process; `render` is the body of `/metrics`."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.tenant_tokens = TenantTokens()

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> QuickHistogram:
            return QuickHistogram(name, text, buckets=buckets, registry=registry)

        self.e2e_request_latency_seconds = histogram(
            "e2e_request_latency_seconds", "From a request's arrival to its last byte.", REQUEST_SECONDS
        )
        self.time_to_first_token_seconds = histogram(
            "time_to_first_token_seconds", "From a request's arrival to its first token.", REQUEST_SECONDS
        )
        self.time_per_output_token_seconds = histogram(
            "time_per_output_token_seconds", "Mean time between a request's tokens, once a request.", TOKEN_SECONDS
        )
        self.inter_token_latency_seconds = histogram(
            "inter_token_latency_seconds", "Time between two deliveries of tokens.", TOKEN_SECONDS
        )
        self.request_queue_time_seconds = histogram(
            "request_queue_time_seconds", "Time that a request waited for an engine's credit.", REQUEST_SECONDS
        )
        self.prompt_tokens_total = Counter(
            "prompt_tokens_total", "Prompt tokens of finished requests.", registry=registry
        )
        self.generation_tokens_total = Counter(
            "generation_tokens_total", "Tokens that engines generated.", registry=registry
        )
        self.request_success_total = Counter(
            "request_success_total", "Finished requests.", ["finished_reason"], registry=registry
        )
        self.adapter_requests_total = Counter(
            "adapter_requests_total",
            "Requests of adapters sent to engines, by where the engine had the adapter.",
            ["tier"],
            registry=registry,
        )
        self.adapter_claims_total = Counter(
            "adapter_claims_total",
            "Adapters that no engine had, by who decided which engine loads them.",
            ["result"],
            registry=registry,
        )
        self.num_requests_waiting = Gauge(
            "num_requests_waiting", "Requests that wait for an engine's credit.", registry=registry
        )
        self.num_requests_running = Gauge("num_requests_running", "Requests at an engine.", registry=registry)
        self.http_requests_total = Counter(
            "http_requests_total", "Answered HTTP requests.", ["route", "status"], registry=registry
        )
        self.engine_ejections_total = Counter(
            "engine_ejections_total",
            "Times that an engine was ejected because requests failed there.",
            registry=registry,
        )
        self.engines_ejected = Gauge(
            "engines_ejected", "Engines that get no requests because they failed.", registry=registry
        )
        self.usage_rows_total = Counter(
            "usage_rows_total", "Requests of this worker written to the usage ledger.", registry=registry
        )
        self.usage_adopted_total = Counter(
            "usage_adopted_total", "Requests of killed workers written to the usage ledger.", registry=registry
        )
        self.usage_unknown_total = Counter(
            "usage_unknown_total", "Submissions whose final usage no engine could tell.", registry=registry
        )
        self.usage_unwritten = Gauge(
            "usage_unwritten", "Requests that are over and not in the usage ledger yet.", registry=registry
        )
        self.batch_lines_total = Counter(
            "batch_lines_total",
            "Lines of batches that have their answer, by the file that it is in.",
            ["file"],
            registry=registry,
        )
        self.gateway_worker_starts = Gauge(
            "gateway_worker_starts", "Times that this worker's process was started.", registry=registry
        )
        self.gateway_worker_starts.set(1)
        self.quota_degraded = Gauge(
            "quota_degraded", "1 while Redis is away and limits are kept by this process alone.", registry=registry
        )
        self.fairness_degraded = Gauge(
            "fairness_degraded", "1 while Redis is away and this process is fair by itself alone.", registry=registry
        )

    def render(self) -> bytes:
        return generate_latest(self.registry)
