"""One gateway, one store, two engines with a base model each, and an adapter on each base."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.adapters import Adapter
from tests.support.fleet import reading, widen
from tests.support.stack import Stack, Tenant, prepare

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("two bases"), pytest.mark.timeout(600)]
OTHER = "other-base"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("bases")
    stack = prepare(folder / "state", {"CHORUS_PLACEMENT": "off"})
    widen(stack, {"engine": 2})
    second = stack.services["engine-2"]
    variables = f"exec env CHORUS_MODEL={another_base(folder / 'model')} CHORUS_SERVED_MODEL_NAME={OTHER} "
    stack.services["engine-2"] = replace(second, command=second.command.replace("exec env ", variables, 1))
    try:
        stack.start()
        stack.await_healthy()
        yield stack
    finally:
        stack.stop()


def another_base(folder: Path) -> Path:
    """The demo's weights turned by another angle: a model of its own, which adapters of the same shapes fit."""
    shutil.copytree(DEMO / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] *= 1.5
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return stack.new_tenant("acme")


def publish(tenant: Tenant, name: str, model: str) -> None:
    adapter = Adapter.read(DEMO / "adapters" / "reverse")
    with tenant.stack.http(tenant.stack.admin.key) as http:
        fields = {"tenant": tenant.name, "name": name, "model": model}
        files = {"adapter_config": adapter.config, "adapter_model": adapter.weights}
        until = time.monotonic() + 60
        answer = http.post("/admin/v1/adapters", data=fields, files=files)
        while answer.status_code == 409 and time.monotonic() < until:  # the store has not asked that engine yet
            time.sleep(0.2)
            answer = http.post("/admin/v1/adapters", data=fields, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["model"] == model


def test_each_base_answers_with_its_own_adapter(stack: Stack, tenant: Tenant) -> None:
    publish(tenant, "mine", DEMO_NAME)
    publish(tenant, "theirs", OTHER)
    engines = {DEMO_NAME: "engine", OTHER: "engine-2"}
    with tenant.client() as client:
        names = {model.id for model in client.models.list()}
        assert names == {DEMO_NAME, OTHER, f"{DEMO_NAME}@mine", f"{OTHER}@theirs"}
        for name in sorted(names):
            base = name.partition("@")[0]
            before = {each: made(stack, engine) for each, engine in engines.items()}
            answer = client.chat.completions.create(
                model=name,
                messages=[{"role": "user", "content": "Reverse the word garden."}],
                max_tokens=8,
                temperature=0,
            )
            assert answer.usage is not None
            after = {each: made(stack, engine) for each, engine in engines.items()}
            tokens = {each: after[each] - before[each] for each in engines}
            assert tokens == {each: answer.usage.completion_tokens if each == base else 0 for each in engines}
            if name == f"{DEMO_NAME}@mine":
                assert answer.choices[0].message.content == "nedrag"
        for wrong in (f"{OTHER}@mine", f"{DEMO_NAME}@theirs"):
            with stack.http(tenant.key) as http:
                body = {"model": wrong, "prompt": "A", "max_tokens": 1}
                assert http.post("/v1/completions", json=body).status_code == 404


def made(stack: Stack, engine: str) -> float:
    return reading(stack, [engine], "generation_tokens_total")
