"""LiteLLM's proxy before the stub's HTTP face: the reference for what a gateway adds.

It is no dependency of ours, and is measured where it is installed: see INSTALL.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.commit import ROOT
from benchmarks.gateway.stack import Process, running
from tests.gateway.support.redis_server import free_port

FOLDER = ROOT / ".chorus" / "litellm"
INSTALL = "python3 -m venv .chorus/litellm && .chorus/litellm/bin/pip install 'litellm[proxy]'"
KEY = "sk-a-key-for-measurements"
MODEL = "stub"
_START_SECONDS = 120.0
_FIRST_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class LiteLlm:
    port: int
    process: Process


def find(given: str = "") -> Path | None:
    """The command `litellm`: the one given, in FOLDER, or on the PATH."""
    found = given or shutil.which("litellm", path=str(FOLDER / "bin")) or shutil.which("litellm")
    return Path(found) if found else None


def version_of(command: Path) -> str:
    code = "import importlib.metadata; print(importlib.metadata.version('litellm'))"
    done = subprocess.run([str(command.parent / "python"), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@contextmanager
def proxy(command: Path, work: Path, face: int) -> Iterator[LiteLlm]:
    """One worker, no database, its master key asked for, its logs quiet."""
    port = free_port()
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"http://127.0.0.1:{face}/v1",
                    "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    file = work / "litellm.json"
    file.write_text(json.dumps(config))
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "HOME": str(work),
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    line = [str(command), "--config", str(file), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with running(line, work / "litellm.log", environment) as process:
        _await_ready(port, process, work / "litellm.log")
        _warm(port)
        yield LiteLlm(port, process)


def _warm(port: int) -> None:
    """What it loads for its first requests is not what it takes for one."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(trust_env=False, timeout=_START_SECONDS, headers=headers) as http:
        for _ in range(_FIRST_REQUESTS):
            http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body).raise_for_status()


def _await_ready(port: int, process: Process, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/liveliness", trust_env=False, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        if process.popen.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"LiteLLM does not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)
