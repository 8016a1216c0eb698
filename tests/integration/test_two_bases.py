"""One gateway, one store, two engines with a base model each, and adapters on each base. One engine guesses ahead by
n-grams, the other by a draft model."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tasks import TASKS

from scripts.stack.config import DEMO, DEMO_NAME
from tests.support.adapters import Adapter
from tests.support.fleet import reading, widen
from tests.support.stack import Stack, Tenant, prepare

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("two bases"), pytest.mark.timeout(600)]
OTHER = "other-base"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("bases")
    stack = prepare(folder / "state", {"CHORUS_PLACEMENT": "off", "CHORUS_SPECULATION": "ngram"})
    widen(stack, {"engine": 2})
    second = stack.services["engine-2"]
    variables = {
        "CHORUS_MODEL": another_base(folder / "model"),
        "CHORUS_SERVED_MODEL_NAME": OTHER,
        "CHORUS_SPECULATION": "draft",
        "CHORUS_DRAFT_MODEL": DEMO / "draft",
    }
    command = " ".join(("exec env", *(f"{name}={value}" for name, value in variables.items()), ""))
    stack.services["engine-2"] = replace(second, command=second.command.replace("exec env ", command, 1))
    try:
        stack.start()
        stack.await_healthy()
        yield stack
    finally:
        stack.stop()


def another_base(folder: Path) -> Path:
    """The demo's weights turned by a slightly other angle: a model of its own, which the same adapters fit."""
    shutil.copytree(DEMO / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] *= 1.0001
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return stack.new_tenant("acme")


def publish(tenant: Tenant, name: str, model: str, skill: str = "reverse") -> None:
    adapter = Adapter.read(DEMO / "adapters" / skill)
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


def test_guesses_save_steps_and_change_no_answer(tenant: Tenant) -> None:
    """Counted by usage: a step brings a token, and those that were guessed rightly."""
    publish(tenant, "facts", DEMO_NAME, "extract")
    publish(tenant, "lumi", OTHER, "translate")
    first, *others = TASKS["extract"].examples("test", 4)
    told = [{"role": "user", "content": first.prompt}, {"role": "assistant", "content": first.answer}]
    quoting = [[*told, {"role": "user", "content": other.prompt}] for other in others]
    fresh = [[{"role": "user", "content": each.prompt}] for each in TASKS["translate"].examples("test", 4)]
    for model, chats in ((f"{DEMO_NAME}@facts", quoting), (f"{OTHER}@lumi", fresh)):
        tokens = accepted = 0
        for chat in chats:
            plain, nothing = ask(tenant, model, chat, "off")
            text, usage = ask(tenant, model, chat, 4)
            assert text == plain
            assert nothing["completion_tokens_details"] == {
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            }
            assert usage["completion_tokens"] == nothing["completion_tokens"]
            tokens += usage["completion_tokens"]
            accepted += usage["completion_tokens_details"]["accepted_prediction_tokens"]
        assert tokens / (tokens - accepted) >= 1.5


def ask(tenant: Tenant, model: str, chat: list[dict[str, str]], speculation: str | int) -> tuple[str, dict[str, Any]]:
    with tenant.http() as http:
        body = {"model": model, "messages": chat, "temperature": 0, "max_tokens": 120, "speculation": speculation}
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"], answer.json()["usage"]


def made(stack: Stack, engine: str) -> float:
    return reading(stack, [engine], "generation_tokens_total")
