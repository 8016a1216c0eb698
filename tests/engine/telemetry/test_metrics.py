"""Figures, log lines, and where they are read."""

import json
import logging
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.core.load import Held, HostMemory, Load, SlotState, Tier
from chorus_engine.core.plan import RowStep, StepPlan
from chorus_engine.core.request import FinishReason, Output, SampledToken, Timing, Usage
from chorus_engine.presence import Holdings
from chorus_engine.telemetry import EngineMetrics, MetricsServer
from chorus_engine.telemetry.logs import JsonFormatter
from chorus_engine.telemetry.metrics import BusyShare
from chorus_engine.telemetry.speculation import MOST_ADAPTERS


def value(metrics: EngineMetrics, name: str, **labels: str) -> float:
    sample = metrics.registry.get_sample_value(name, labels)
    assert sample is not None, f"there is no {name}"
    return sample


def test_a_step_and_its_news_are_counted() -> None:
    metrics = EngineMetrics()
    metrics.step(StepPlan(1, (RowStep(0, 0, 30, (), False), RowStep(1, 5, 1, (), True))), seconds=0.02)
    outputs = (Output("a", (SampledToken(1), SampledToken(2))), Output("b", (SampledToken(3),)))
    metrics.publish(outputs, Load(2, 5, False, 25, 100, 3, 4, 1))
    metrics.publish((), Load(2, 5, False, 25, 100, 5, 4, 2, swaps=1, gpu_hits=7, host_hits=2, misses=1), 3)
    metrics.publish((), Load(2, 5, False, 25, 100, 5, 4, 2, swaps=1, gpu_hits=9, host_hits=2, misses=4), 3)
    assert value(metrics, "generation_tokens_total") == 3
    assert value(metrics, "num_requests_running") == 2
    assert value(metrics, "num_requests_waiting") == 5
    assert value(metrics, "kv_cache_usage_perc") == 0.75
    assert value(metrics, "num_preemptions_total") == 5
    assert value(metrics, "num_swaps_total") == 1
    assert value(metrics, "lora_loads_total", tier="gpu") == 4
    assert value(metrics, "lora_evictions_total", tier="gpu") == 2
    assert value(metrics, "lora_evictions_total", tier="host") == 3
    assert [value(metrics, "lora_hits_total", tier=tier) for tier in ("gpu", "host")] == [9, 2]
    assert value(metrics, "lora_misses_total") == 4
    assert value(metrics, "iteration_tokens_total_sum") == 31


def test_a_request_is_counted_at_its_end() -> None:
    metrics = EngineMetrics()
    metrics.finished(Output("a", (), FinishReason.STOP, None, Usage(7, 2, cached_tokens=4), Timing(0.1, 0.2, 0.3)))
    metrics.finished(Output("b", (), FinishReason.ERROR, ValueError()))
    assert value(metrics, "prompt_tokens_total") == 7
    assert value(metrics, "prefix_cache_hits_total") == 4
    assert value(metrics, "request_finished_total", finished_reason="stop") == 1
    assert value(metrics, "request_finished_total", finished_reason="error") == 1
    for name, seconds in (("queue", 0.1), ("prefill", 0.2), ("decode", 0.3)):
        assert value(metrics, f"request_{name}_time_seconds_sum") == pytest.approx(seconds)


def test_adapters_are_counted_by_tier() -> None:
    metrics = EngineMetrics()
    host = HostMemory(1000, 0, 1000, 0, 500)
    holdings = Holdings(4, 1000, host)
    metrics.watch(holdings)
    both = Held("a", Tier.GPU, SlotState.READY, 70, pinned=Tier.GPU, hosted=True)
    holdings.take({"a": both, "b": Held("b", Tier.HOST, SlotState.READY, 30, hosted=True)}, host)
    holdings.take({"c": Held("c", Tier.HOST, SlotState.LOADING, 0)}, host)
    assert [value(metrics, "lora_resident", tier=tier) for tier in ("gpu", "host")] == [1, 2]
    assert [value(metrics, "lora_resident_bytes", tier=tier) for tier in ("gpu", "host")] == [70, 100]
    assert [value(metrics, "lora_pinned", tier=tier) for tier in ("gpu", "host")] == [1, 0]
    holdings.take({"a": None}, host)
    assert [value(metrics, "lora_resident", tier=tier) for tier in ("gpu", "host")] == [0, 1]


def test_loads_are_timed_by_tier_and_commands_counted_by_their_end() -> None:
    metrics = EngineMetrics()
    metrics.fetched(0.5, ok=True)
    metrics.fetched(0.1, ok=False)
    metrics.adapter_loaded(0.2)
    metrics.command("pin", "done")
    assert value(metrics, "lora_fetch_seconds_count", result="error") == 1
    assert value(metrics, "lora_loads_total", tier="host") == 1
    assert [value(metrics, "lora_load_seconds_sum", tier=tier) for tier in ("gpu", "host")] == [0.2, 0.5]
    assert value(metrics, "lora_commands_total", command="pin", status="done") == 1


def test_guesses_are_counted_by_place_and_adapter() -> None:
    metrics = EngineMetrics()
    for adapter, drafted, taken in ((None, 4, 4), ("a" * 64, 4, 2), ("a" * 64, 3, 0)):
        metrics.speculation.verified(adapter, drafted, taken)
    assert value(metrics, "spec_decode_num_drafts_total") == 3
    assert value(metrics, "spec_decode_num_draft_tokens_total") == 11
    assert value(metrics, "spec_decode_num_accepted_tokens_total") == 6
    for name, counts in (("draft", [3, 3, 3, 2, 0]), ("accepted", [2, 2, 1, 1, 0])):
        places = f"spec_decode_num_{name}_tokens_per_pos_total"
        assert [value(metrics, places, position=str(place)) for place in range(5)] == counts
    names = "spec_decode_adapter_draft_tokens_total", "spec_decode_adapter_accepted_tokens_total"
    assert [[value(metrics, name, adapter=label) for name in names] for label in ("base", "a" * 12)] == [[4, 4], [7, 2]]
    assert value(metrics, "spec_decode_step_tokens_sum") == 9


def test_guesses_for_many_adapters_share_a_label() -> None:
    metrics = EngineMetrics()
    for adapter in range(MOST_ADAPTERS + 6):
        metrics.speculation.verified(f"{adapter:012}", 2, 1)
    name = "spec_decode_adapter_draft_tokens_total"
    assert value(metrics, name, adapter=f"{MOST_ADAPTERS - 1:012}") == 2
    assert metrics.registry.get_sample_value(name, {"adapter": f"{MOST_ADAPTERS:012}"}) is None
    assert value(metrics, name, adapter="other") == 12


def test_the_oldest_lease_ages_as_metrics_are_read() -> None:
    metrics = EngineMetrics()
    assert value(metrics, "lora_oldest_lease_seconds") == 0
    metrics.publish((), Load(1, 0, False, 25, 100, 0, 0, 0, oldest_lease=time.monotonic() - 7))
    assert 7 <= value(metrics, "lora_oldest_lease_seconds") < 9


def test_memory_is_told_by_use() -> None:
    metrics = EngineMetrics()
    metrics.memory({"weights": 7, "kv_cache": 5})
    assert value(metrics, "device_memory_bytes", use="kv_cache") == 5


def test_utilization_is_the_share_of_time_in_steps() -> None:
    now = 0.0
    busy = BusyShare(clock=lambda: now)
    now = 4.0
    busy.add(1.0)
    assert busy() == pytest.approx(0.25)
    now = 13.0
    busy.add(2.0)
    assert busy() == pytest.approx(0.3)
    now = 30.0
    assert busy() == 0.0


def test_the_devices_own_figure_goes_before() -> None:
    assert value(EngineMetrics(utilization=lambda: 0.83), "gpu_utilization") == 0.83


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0, EngineMetrics().registry, healthy=iter([True, False]).__next__)
    server.start()
    yield server
    server.stop()


def _status(server: MetricsServer, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_health_follows_the_engine(server: MetricsServer) -> None:
    assert [_status(server, path) for path in ("/healthz", "/healthz", "/metrics", "/else")] == [200, 503, 200, 404]


def test_a_busy_port_is_one_sentence(server: MetricsServer) -> None:
    with pytest.raises(StartError, match=f"127.0.0.1:{server.port} .*CHORUS_ENGINE_METRICS_PORT"):
        MetricsServer("127.0.0.1", server.port, EngineMetrics().registry, healthy=lambda: True)


def test_who_no_longer_waits_is_no_event(capfd: pytest.CaptureFixture[str]) -> None:
    """A probe that came before the engine served gave up; its answer meets a connection that was reset."""
    server = MetricsServer("127.0.0.1", 0, EngineMetrics().registry, healthy=lambda: True)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as probe:
            probe.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
    server.start()
    assert _status(server, "/healthz") == 200
    server.stop()
    assert capfd.readouterr().err == ""


def test_a_log_line_is_one_json_object() -> None:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "two\nlines", "digest": "ab", "path": {1}})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["level"], fields["digest"], fields["path"]) == ("two\nlines", "info", "ab", "{1}")
