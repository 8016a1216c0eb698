"""compose.yaml as a person meets it: the same client commands, images without torch, an engine that comes back."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

import openai
import pytest

from scripts.stack.config import DEMO
from tests.compose.conftest import Compose

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]
REVERSE = DEMO / "adapters" / "reverse"
# The engine is a child of the container's init, so that killing it ends the container as a crash would.
KILL_ENGINE = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    words = (entry / "cmdline").read_bytes().split(b"\\0")
    if words[:3] == [b"python", b"-m", b"chorus_engine"]:
        os.kill(int(entry.name), signal.SIGKILL)
"""


@pytest.fixture
def client(keys: dict[str, str]) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=keys["CHORUS_BASE_URL"], api_key=keys["CHORUS_API_KEY"], max_retries=0, timeout=60, http_client=http
    ) as client:
        yield client


def reverse(client: openai.OpenAI, model: str) -> str:
    completion = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Reverse the word garden."}], temperature=0
    )
    return completion.choices[0].message.content or ""


def test_the_demo_is_there_and_answers(compose: Compose, client: openai.OpenAI, keys: dict[str, str]) -> None:
    assert keys["CHORUS_BASE_URL"] == f"{compose.url}/v1"
    assert reverse(client, "chorus-demo@reverse") == "nedrag"
    stream = client.chat.completions.create(
        model="chorus-demo@reverse",
        messages=[{"role": "user", "content": "Reverse the word garden."}],
        temperature=0,
        stream=True,
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "nedrag"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_one_curl_uploads_an_adapter(compose: Compose, client: openai.OpenAI, keys: dict[str, str]) -> None:
    command = ["curl", "-sS", "--noproxy", "*", f"{compose.url}/admin/v1/adapters"]
    command += ["-H", f"Authorization: Bearer {keys['CHORUS_ADMIN_KEY']}"]
    command += ["-F", "tenant=demo", "-F", "name=mine", "-F", "model=chorus-demo"]
    command += ["-F", f"adapter_config=@{REVERSE}/adapter_config.json"]
    command += ["-F", f"adapter_model=@{REVERSE}/adapter_model.safetensors"]
    described = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert described["generation"] == 1
    assert reverse(client, "chorus-demo@mine") == "nedrag"


@pytest.mark.parametrize("service", ["gateway", "adapter-store"])
def test_an_image_holds_no_torch(compose: Compose, service: str) -> None:
    probe = "import importlib.util as u; print([name for name in ('torch', 'triton') if u.find_spec(name)])"
    assert compose.run("exec", "-T", service, "python", "-c", probe).strip() == "[]"


@pytest.mark.parametrize("service", ["gateway", "adapter-store", "engine"])
def test_a_service_does_not_run_as_root(compose: Compose, service: str) -> None:
    assert compose.run("exec", "-T", service, "id", "-u").strip() != "0"


@pytest.mark.parametrize(
    ("service", "published"),
    [("gateway", True), ("adapter-store", False), ("engine", False), ("redis", False), ("postgres", False)],
)
def test_only_the_gateways_port_is_published(compose: Compose, service: str, published: bool) -> None:
    ports = json.loads(compose.inspect(service, "{{json .HostConfig.PortBindings}}")) or {}
    hosts = [binding["HostIp"] for bindings in ports.values() for binding in bindings or []]
    assert hosts == (["127.0.0.1"] if published else [])


def test_redis_wants_its_password(compose: Compose) -> None:
    assert "NOAUTH" in compose.run("exec", "-T", "redis", "redis-cli", "ping")


def test_a_killed_engine_comes_back(compose: Compose, client: openai.OpenAI) -> None:
    before = compose.inspect("engine", "{{.State.StartedAt}}")
    subprocess.run(
        ["docker", "exec", compose.container("engine"), "python", "-c", KILL_ENGINE], timeout=30, check=False
    )
    until = time.monotonic() + 120
    while (answer := attempt(client)) != "nedrag" or compose.inspect("engine", "{{.State.StartedAt}}") == before:
        assert time.monotonic() < until, answer
        time.sleep(0.5)


def attempt(client: openai.OpenAI) -> str:
    try:
        return reverse(client, "chorus-demo@reverse")
    except openai.APIStatusError as error:
        return str(error)


def test_adapters_and_keys_outlive_the_containers(compose: Compose, client: openai.OpenAI) -> None:
    compose.run("down", timeout=120)
    compose.run("up", "-d", timeout=300)
    compose.await_ready()
    assert reverse(client, "chorus-demo@reverse") == "nedrag"
