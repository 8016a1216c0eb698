"""Settings from environment and flags, and the one sentence for each mistake."""

import os
import subprocess
import sys

import pytest

from chorus_engine.config import Settings, load_settings
from chorus_engine.core.errors import StartError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("CHORUS_", "OTEL_")) or name == "CC":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHORUS_MODEL", "models/demo")
    monkeypatch.setenv("CHORUS_SERVICE_TOKEN", "0123456789abcdef")


def test_defaults() -> None:
    settings = load_settings()
    assert settings.name == "demo"
    assert (settings.device, settings.dtype, settings.block_size, settings.max_lora_rank) == ("auto", "auto", 16, 64)
    assert (settings.engine_port, settings.engine_metrics_port) == (8001, 8002)
    assert settings.otlp_endpoint is None


def test_the_environment_and_flags_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_MAX_NUM_SEQS", "7")
    monkeypatch.setenv("CHORUS_SERVED_MODEL_NAME", "chorus-demo")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    settings = load_settings(["--max-num-seqs", "9", "--enforce-eager", "--swap-space", "1.5"])
    assert (settings.max_num_seqs, settings.enforce_eager, settings.swap_space) == (9, True, 1.5)
    assert (settings.name, settings.otlp_endpoint) == ("chorus-demo", "http://localhost:4317")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CHORUS_BLOCK_SIZE", "12", "power of two"),
        ("CHORUS_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("CHORUS_MAX_MODEL_LEN", "0", "greater than or equal to 1"),
        ("CHORUS_GPU_MEMORY_UTILIZATION", "1.5", "less than or equal to 1"),
        ("CHORUS_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("CHORUS_MAX_ADAPTERS", "many", "valid integer"),
        ("CHORUS_SWAP_SPACE", "inf", "finite"),
        ("CHORUS_KV_CACHE_MEMORY", "nan", "finite"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift", "'grpc' or 'http/protobuf'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift", "'grpc' or 'http/protobuf'"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as caught:
        load_settings()
    sentence = str(caught.value)
    assert sentence.startswith(f"{name}='{value}' is wrong: ")
    assert reason in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": ""}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "grpc"),
    ],
)
def test_the_protocol_of_traces_wins(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], protocol: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().otlp_protocol == protocol


def test_what_is_required_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHORUS_MODEL")
    with pytest.raises(StartError, match=r"CHORUS_MODEL is not set \(the base model: .*set it in the environment"):
        load_settings()


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_SERVICE_TOKEN", "too-short")
    with pytest.raises(StartError) as caught:
        load_settings()
    assert "too-short" not in str(caught.value)
    assert "at least 16 characters" in str(caught.value)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "chorus_engine", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_setting() -> None:
    shown = _run("--help")
    assert shown.returncode == 0
    for name, field in Settings.model_fields.items():
        assert f"CHORUS_{name.upper()}" in shown.stdout or field.validation_alias, name


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"CHORUS_MAX_NUM_SEQS": "-1"}, "CHORUS_MAX_NUM_SEQS='-1' is wrong"),
        ({"CHORUS_MODEL": "./nowhere"}, "CHORUS_MODEL='./nowhere' is no folder"),
        ({"CHORUS_MODEL": "no-such/model", "HF_HUB_OFFLINE": "1"}, "the hub cannot be reached"),
        ({"CHORUS_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "CHORUS_DEVICE=cuda but torch finds no CUDA device"),
    ],
)
def test_a_start_that_fails_says_one_sentence_and_exits_with_2(wrong: dict[str, str], sentence: str) -> None:
    ended = _run(CHORUS_ENGINE_PORT="0", CHORUS_ENGINE_METRICS_PORT="0", **wrong)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith("chorus-engine: ")] == [
        ended.stderr.splitlines()[-1]
    ]
