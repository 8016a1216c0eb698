"""schemathesis asks a whole stack for everything that two descriptions know: OpenAI's published file, for the paths
that there are here, and the gateway's own. No answer is a fault of the server, and each is what is described."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import World
from tests.conformance.environments import CLIENTS, SCHEMATHESIS
from tests.conformance.fuzzing import CHECKS, OUR_CHECKS, Fuzzing
from tests.conformance.script import BASE, GARDEN, REVERSE

pytestmark = [pytest.mark.conformance, pytest.mark.stack, pytest.mark.timeout(4000)]
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": BASE, "input": "A garden."}}
# What it can hardly come to by chance: the bytes of an adapter, or two changes of one thing in order.
RARE = frozenset(
    {
        "POST /batches/{batch_id}/cancel",
        "POST /v1/batches/{batch_id}/cancel",
        "POST /admin/v1/adapters",
        "POST /admin/v1/adapters/import",
        "POST /admin/v1/adapters/{tenant}/{name}/aliases/{alias}/rollback",
        "GET /admin/v1/adapters/{tenant}/{name}/aliases/{alias}",
        "PUT /admin/v1/adapters/{tenant}/{name}/aliases/{alias}",
        "DELETE /admin/v1/adapters/{tenant}/{name}/aliases/{alias}",
        "GET /admin/v1/adapters/{tenant}/{name}/pin",
        "PUT /admin/v1/adapters/{tenant}/{name}/pin",
        "DELETE /admin/v1/adapters/{tenant}/{name}/pin",
        "DELETE /admin/v1/prices",
        "DELETE /admin/v1/tenants/{tenant_id}",
    }
)
UNSET = (
    "CHORUS_OPENAI_SPEC is not set: `make test-conformance OPENAI_SPEC=<path>` needs the file openapi.yaml of"
    " github.com/openai/openai-openapi, which is no part of this project."
)


@pytest.fixture(scope="module")
def known(world: World) -> dict[str, Any]:
    """What schemathesis may find: hooks.py says what becomes of it."""
    with world.stack.http(world.key) as http:
        lines = {"file": ("lines.jsonl", json.dumps(LINE).encode())}
        file = http.post("/v1/files", files=lines, data={"purpose": "batch"}).json()["id"]
        asked = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        batch = http.post("/v1/batches", json=asked).json()["id"]
    path = {"tenant": ["demo"], "name": ["reverse", "upper"], "generation": [1], "batch_id": [batch], "owner": ["demo"]}
    path |= {"alias": ["stable"], "file": ["adapter_config.json"], "tenant_id": ["demo"], "model": [BASE, REVERSE]}
    fields = {"model": [BASE, REVERSE], "input_file_id": [file], "endpoint": ["/v1/embeddings"], "version": ["latest"]}
    question = {"model": REVERSE, "messages": [{"role": "user", "content": GARDEN}], "max_tokens": 8}
    examples = {"/v1/chat/completions": [question, question | {"stream": True, "logprobs": True}]}
    return {"examples": examples, "path": path, "fields": fields, "kept": [world.admin_key.split("_")[1], file]}


@pytest.fixture(scope="module")
def ours(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ours") / "openapi.json"
    with world.stack.http() as http:
        file.write_bytes(http.get("/openapi.json").content)
    return file


@pytest.fixture
def openai(tmp_path: Path) -> Path:
    source = os.environ.get("CHORUS_OPENAI_SPEC") or pytest.fail(UNSET, pytrace=False)
    assert Path(source).is_file(), f"CHORUS_OPENAI_SPEC: there is no file {source}."
    file = tmp_path / "openai.json"
    subprocess.run([SCHEMATHESIS.python, CLIENTS / "schemathesis" / "openai_file.py", source, file], check=True)
    return file


def check(fuzzing: Fuzzing, least: int) -> None:
    """At least so many operations are described, and each was answered well at least once but rare ones."""
    described, ended = fuzzing.operations(), fuzzing.run()
    print(f"\n{fuzzing.description.name}, {len(described)} operations: {ended}")
    assert ended.status == 0, ended.said
    assert len(described) >= least
    assert described - ended.good <= RARE


def test_openais_description(world: World, known: dict[str, Any], openai: Path) -> None:
    check(Fuzzing(openai, world.base_url, world.key, known, CHECKS), least=15)


def test_our_description_of_tenants_routes(world: World, known: dict[str, Any], ours: Path) -> None:
    check(Fuzzing(ours, world.stack.url, world.key, known, OUR_CHECKS, paths="^/v1/"), least=18)


def test_our_description_of_all_others(world: World, known: dict[str, Any], ours: Path) -> None:
    """Last, since an administrator may suspend, drain and delete what the others ask."""
    check(Fuzzing(ours, world.stack.url, world.admin_key, known, OUR_CHECKS, paths="^/(?!v1/)"), least=45)
