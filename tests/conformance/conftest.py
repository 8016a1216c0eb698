"""One stack for all clients, and for each client keys of its own that meet every kind of answer."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.stack import envfile
from tests.conformance.clients.programs import Program
from tests.conformance.script import BASE, CALLS, Json
from tests.support.stack import Stack, running_stack

CLIENT_SECONDS = 600
SPENDING = 20  # requests, at most, until a day's tokens are gone


@dataclass(frozen=True)
class World:
    stack: Stack
    key: str

    @property
    def base_url(self) -> str:
        return f"{self.stack.url}/v1"

    @property
    def admin_key(self) -> str:
        return self.stack.environment["CHORUS_ADMIN_KEY"]

    def keys(self, client: str) -> dict[str, str]:
        """By the names that the script's calls have for them."""
        return {
            "good": self.key,
            "wrong": f"{self.key[:-1]}{'a' if self.key[-1] != 'a' else 'b'}",
            "uploads": self._new_key("demo", scopes=["adapters"]),
            "slow": self._tenant(f"slow-{client}", requests_per_minute=1),
            "spent": self._spent(f"spent-{client}"),
        }

    def _tenant(self, name: str, **limits: int) -> str:
        self._admin("/tenants", id=name, limits=limits)
        return self._new_key(name)

    def _new_key(self, tenant: str, **options: Any) -> str:
        return str(self._admin(f"/tenants/{tenant}/keys", **options)["key"])

    def _spent(self, name: str) -> str:
        """The key of a tenant that has no tokens left for today."""
        key = self._tenant(name, tokens_per_day=400)
        body = {
            "model": BASE,
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_tokens": 64,
            "ignore_eos": True,
        }
        with self.stack.http(key) as http:
            for _ in range(SPENDING):
                if http.post("/v1/chat/completions", json=body).status_code == httpx.codes.TOO_MANY_REQUESTS:
                    return key
        raise AssertionError("a day's tokens did not come to an end")

    def _admin(self, path: str, **body: Any) -> Json:
        with self.stack.http(self.admin_key) as http:
            answer = http.post(f"/admin/v1{path}", json=body)
            answer.raise_for_status()
            found: Json = answer.json()
            return found


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_stack(tmp_path_factory.mktemp("stack"), {}) as stack:
        yield World(stack, envfile.read(stack.config.state / "env")["CHORUS_API_KEY"])


@pytest.fixture(scope="session")
def printed(world: World) -> Callable[[Program], dict[str, Json]]:
    """What a client printed, by call. Each client runs once."""

    @cache
    def ended(program: Program) -> "subprocess.CompletedProcess[str]":
        calls = [call.for_client() for call in CALLS if program.makes(call)]
        given = {"base_url": world.base_url, "keys": world.keys(program.name), "calls": calls}
        return subprocess.run(
            program.command,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            env=_environment(),
            check=False,
        )

    def run(program: Program) -> dict[str, Json]:
        done = ended(program)
        assert done.returncode == 0, (
            f"{program.name} ended after {len(done.stdout.splitlines())} calls:\n{done.stderr[-4000:]}"
        )
        return {line["call"]: line for line in map(json.loads, done.stdout.splitlines())}

    return run


def _environment() -> dict[str, str]:
    """Nothing that would lead a client elsewhere."""
    ours = ("OPENAI_", "CHORUS_", "LITELLM_", "LANGCHAIN_", "LANGSMITH_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}
    return {**kept, **offline, "NO_PROXY": "127.0.0.1", "HOME": str(Path.home())}
