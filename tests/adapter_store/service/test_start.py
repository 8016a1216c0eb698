"""Starting and stopping the process: what cannot start says so in one sentence and ends with status 2."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from tests.adapter_store.process import TOKEN, running, settings
from tests.adapter_store.support import BASE, make_upload

METADATA = (("authorization", f"Bearer {TOKEN}"),)


def run(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "chorus_adapter_store", *arguments]
    return subprocess.run(
        command, env=settings(folder, **more), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CHORUS_SERVICE_TOKEN": "short"}, "CHORUS_SERVICE_TOKEN is wrong"),
        ({"CHORUS_STORE_PORT": "eight"}, "CHORUS_STORE_PORT='eight' is wrong"),
        ({"CHORUS_MAX_LORA_RANK": "0"}, "CHORUS_MAX_LORA_RANK='0' is wrong"),
        ({"CHORUS_STORE_DELETE_GRACE": "inf"}, "CHORUS_STORE_DELETE_GRACE='inf' is wrong"),
        ({"CHORUS_REDIS_URL": "http://x"}, "CHORUS_REDIS_URL is wrong"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is wrong"),
        ({"CHORUS_BLOB_URL": "gs://models"}, "CHORUS_BLOB_URL='gs://models' is no s3://bucket/prefix"),
        ({"CHORUS_S3_ENDPOINT_URL": "minio:9000"}, "CHORUS_S3_ENDPOINT_URL='minio:9000' is wrong"),
        ({"CHORUS_IMPORT_BUCKETS": "models,s3://other"}, "CHORUS_IMPORT_BUCKETS has 's3://other'"),
        (
            {"CHORUS_EVICTION_POLICY": "fifo"},
            "CHORUS_EVICTION_POLICY='fifo' is wrong: Input",
        ),
        ({"CHORUS_STORE_VALIDATION_MEMORY": "0.1"}, "CHORUS_STORE_VALIDATION_MEMORY='0.1' is wrong"),
        ({"CHORUS_BLOB_DIR": "/proc/blobs"}, "cannot write to CHORUS_BLOB_DIR='/proc/blobs'"),
        ({"CHORUS_STORE_DATABASE_URL": "sqlite+aiosqlite:////proc/x.db"}, "cannot use the database sqlite"),
        ({"CHORUS_STORE_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    finished = run(tmp_path, **changes)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("adapter-store: ")
    assert words in line


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    environment = {k: v for k, v in settings(tmp_path).items() if k != "CHORUS_SERVICE_TOKEN"}
    command = [sys.executable, "-m", "chorus_adapter_store"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith("adapter-store: CHORUS_SERVICE_TOKEN is not set; ")


@pytest.mark.parametrize("variable", ["CHORUS_STORE_PORT", "CHORUS_STORE_METRICS_PORT"])
def test_a_busy_port_is_one_sentence(tmp_path: Path, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finished = run(tmp_path, **{variable: str(port)})
    assert finished.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port} ({variable})" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr


def test_help_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    finished = run(tmp_path, "--help")
    assert finished.returncode == 0
    for words in ("--store-port", "8003", "--blob-dir", "in seconds", "--max-lora-rank"):
        assert words in finished.stdout


def test_an_unknown_flag_ends_with_status_2(tmp_path: Path) -> None:
    finished = run(tmp_path, "--no-such-setting", "1")
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr


def test_a_running_upload_is_finished_at_sigterm_and_uploads_outlive_a_restart(tmp_path: Path) -> None:
    upload = make_upload()
    with running(tmp_path, BASE) as store, grpc.insecure_channel(store.address) as channel:

        def requests() -> Iterator[pb.PublishRequest]:
            yield pb.PublishRequest(header=pb.PublishHeader(tenant="acme", name="tone", model="demo"))
            yield pb.PublishRequest(chunk=pb.FileChunk(file="adapter_config.json", data=upload.config_bytes))
            store.process.send_signal(signal.SIGTERM)
            yield pb.PublishRequest(chunk=pb.FileChunk(file="adapter_model.safetensors", data=upload.weights_bytes))
            yield pb.PublishRequest(commit=pb.Commit())

        answer = adapters_pb2_grpc.AdapterStoreStub(channel).Publish(requests(), metadata=METADATA)
        assert store.process.wait(20) == 0
    with running(tmp_path) as store, grpc.insecure_channel(store.address) as channel:
        request = pb.ResolveRequest(tenant="acme", name="tone", model="demo")
        found = adapters_pb2_grpc.AdapterStoreStub(channel).Resolve(request, metadata=METADATA)
        assert found.adapter == answer.adapter


def test_metrics_and_health_are_served_over_http(tmp_path: Path) -> None:
    with running(tmp_path, BASE) as store:
        base = f"http://127.0.0.1:{store.metrics_port}"
        assert urllib.request.urlopen(f"{base}/healthz").read() == b"ok\n"
        assert b"adapter_count 0.0" in urllib.request.urlopen(f"{base}/metrics").read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/secrets")
