"""What is measured, as processes: Redis, the stub engine, the gateway, and a key of a tenant; both have every limit."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.commit import ROOT
from chorus_gateway.auth import generate_key
from tests.gateway.support.redis_server import RedisServer, free_port

MODEL = ROOT / "examples" / "demo" / "model"
SAMPLED = "0.01"  # share of traces that are kept
SERVICE_TOKEN = "a-secret-of-the-services"
_START_SECONDS = 60.0
# So high that none is reached: every one is checked, none refuses.
_MANY = 10**9
LIMITS = {
    "requests_per_minute": _MANY,
    "tokens_per_minute": _MANY,
    "tokens_per_day": _MANY,
    "concurrent_requests": _MANY,
    "budget": "1000000",
    "budget_period": "month",
}
KEY_LIMITS = {"requests_per_minute": _MANY, "tokens_per_minute": _MANY, "concurrent_requests": _MANY}
PRICE = {"model": "chorus-demo", "input": "0.15", "cached": "0.05", "output": "0.60"}


@dataclass(frozen=True, slots=True)
class Process:
    """A child of ours."""

    popen: "subprocess.Popen[bytes]"

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Bytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])


@dataclass(frozen=True, slots=True)
class Door:
    port: int
    key: str
    process: Process  # the gateway's worker
    engine: Process


@contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Ends with the block."""
    with log.open("wb") as out:
        popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Process(popen)
    finally:
        popen.terminate()
        try:
            popen.wait(timeout=20)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def first_line(process: Process, log: Path) -> str:
    """What it says once it is ready."""
    until = time.monotonic() + _START_SECONDS
    while "\n" not in (text := log.read_text()):
        if process.popen.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.popen.args!r} does not start:\n{text}")
        time.sleep(0.02)
    return text.partition("\n")[0]


def engine_command(model: Path, max_num_seqs: int) -> list[str]:
    module = "benchmarks.gateway.engine_process"
    return [sys.executable, "-m", module, str(model), SERVICE_TOKEN, str(max_num_seqs)]


@contextmanager
def front_door(work: Path, *, max_num_seqs: int = 1024, settings: Mapping[str, str] | None = None) -> Iterator[Door]:
    """One gateway worker with authentication, quotas in Redis, queue, ledger, metrics and sampled traces on."""
    with ExitStack() as held:
        redis = RedisServer(work)
        redis.start()
        held.callback(redis.stop)
        engine = held.enter_context(running(engine_command(MODEL, max_num_seqs), work / "engine.log"))
        address = f"127.0.0.1:{first_line(engine, work / 'engine.log')}"
        port, admin = free_port(), generate_key().text
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "CHORUS_GATEWAY_PORT": str(port),
            "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{work}/gateway.db",
            "CHORUS_JOURNAL_DIR": str(work / "journal"),
            "CHORUS_REDIS_URL": redis.url,
            "CHORUS_STORE_ADDRESS": f"127.0.0.1:{free_port()}",
            "CHORUS_ENGINE_ADDRESSES": address,
            "CHORUS_SERVICE_TOKEN": SERVICE_TOKEN,
            "CHORUS_KEY_PEPPER": "a pepper for measurements",
            "CHORUS_NAMESPACE_SECRET": "a secret of namespaces",
            "CHORUS_ADMIN_KEY": admin,
            "CHORUS_MAX_QUEUE": "20000",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": SAMPLED,
            **(settings or {}),
        }
        log = work / "gateway.log"
        gateway = held.enter_context(running([sys.executable, "-m", "chorus_gateway"], log, environment))
        yield Door(port, _key(port, admin, gateway, log), gateway, engine)


def _key(port: int, admin: str, gateway: Process, log: Path) -> str:
    headers = {"authorization": f"Bearer {admin}"}
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, headers=headers, timeout=20, trust_env=False) as http:
        _await_ready(http, gateway, log)
        _post(http, "/admin/v1/tenants", {"id": "bench", "limits": LIMITS})
        http.put("/admin/v1/prices", json=PRICE).raise_for_status()
        key = str(_post(http, "/admin/v1/tenants/bench/keys", {"scopes": ["infer"], "limits": KEY_LIMITS})["key"])
        # What was spent is counted once, for a tenant's first request.
        body = {"model": "chorus-demo", "prompt": "hello", "max_tokens": 1}
        http.post("/v1/completions", json=body, headers={"authorization": f"Bearer {key}"}).raise_for_status()
        return key


def _await_ready(http: httpx.Client, gateway: Process, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            if http.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        if gateway.popen.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the gateway does not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)


def _post(http: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:
    answer = http.post(path, json=body)
    if not answer.is_success:
        raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
    return answer.json()
