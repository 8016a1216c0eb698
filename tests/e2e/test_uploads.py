"""An adapter's life through HTTP: upload, versions, aliases, rollback, delete."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from scripts.stack.config import DEMO
from tests.support.adapters import Adapter, stored, try_upload, upload
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
REVERSE = DEMO / "adapters" / "reverse"


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


def answer(tenant: Tenant, model: str, prompt: str = "Reverse the word garden.") -> str:
    with tenant.client() as client:
        completion = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=24
        )
    return completion.choices[0].message.content or ""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_one_curl_uploads_an_adapter_that_answers_at_once(stack: Stack, tenant: Tenant) -> None:
    command = ["curl", "-sS", "--noproxy", "*", f"{stack.url}/admin/v1/adapters"]
    command += ["-H", f"Authorization: Bearer {stack.admin.key}"]
    command += ["-F", f"tenant={tenant.name}", "-F", "name=mine", "-F", "model=chorus-demo"]
    command += ["-F", f"adapter_config=@{REVERSE}/adapter_config.json"]
    command += ["-F", f"adapter_model=@{REVERSE}/adapter_model.safetensors"]
    described = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    config = json.loads((REVERSE / "adapter_config.json").read_text())
    assert described["generation"] == 1
    assert described["aliases"] == ["latest"]
    assert described["rank"] == config["r"]
    assert {module.rpartition(".")[2] for module in described["modules"]} == set(config["target_modules"])
    assert described["bytes"] >= (REVERSE / "adapter_model.safetensors").stat().st_size
    assert answer(tenant, "chorus-demo@mine") == "nedrag"


def test_the_same_bytes_again_are_the_same_generation(stack: Stack, tenant: Tenant) -> None:
    first = try_upload(stack, tenant.name, "mine", Adapter.random(seed=1))
    again = try_upload(stack, tenant.name, "mine", Adapter.random(seed=1))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_generations_aliases_and_rollback(stack: Stack, tenant: Tenant) -> None:
    upload(tenant, "mine", Adapter.read(REVERSE))
    first = answer(tenant, "chorus-demo@mine")
    second_generation = upload(tenant, "mine", Adapter.random(seed=2))
    assert second_generation["generation"] == 2
    second = answer(tenant, "chorus-demo@mine")
    assert second != first
    assert answer(tenant, "chorus-demo@mine:1") == first
    with stack.http(stack.admin.key) as http:
        aliases = f"/admin/v1/adapters/{tenant.name}/mine/aliases"
        assert http.put(f"{aliases}/prod", json={"generation": 1}).status_code == 200
        assert answer(tenant, "chorus-demo@mine:prod") == first
        assert http.put(f"{aliases}/prod", json={"generation": 2}).status_code == 200
        assert answer(tenant, "chorus-demo@mine:prod") == second
        assert http.put(f"{aliases}/latest", json={"generation": 1}).status_code == 200
        assert answer(tenant, "chorus-demo@mine") == first
        assert http.put(f"{aliases}/prod", json={"generation": 3}).status_code == 404
        assert http.delete(f"{aliases}/prod").status_code == 204


def test_a_deleted_adapter_is_gone(stack: Stack, tenant: Tenant) -> None:
    upload(tenant, "mine", Adapter.random(seed=3))
    answer(tenant, "chorus-demo@mine")
    with stack.http(stack.admin.key) as http:
        assert http.delete(f"/admin/v1/adapters/{tenant.name}/mine").json() == {"deleted": 1}
        assert http.delete(f"/admin/v1/adapters/{tenant.name}/mine").status_code == 404
    assert stored(stack, tenant.name) == []
    with pytest.raises(openai.NotFoundError):
        answer(tenant, "chorus-demo@mine")


def test_tenants_with_the_same_adapter_name_get_each_their_own(new_tenant: Callable[[], Tenant]) -> None:
    one, other = new_tenant(), new_tenant()
    upload(one, "mine", Adapter.read(REVERSE))
    upload(other, "mine", Adapter.read(Path(REVERSE.parent / "upper")))
    assert answer(one, "chorus-demo@mine") == "nedrag"
    assert answer(other, "chorus-demo@mine") != "nedrag"
