"""What owners do with adapters while others ask them: share and withdraw, canaries, retire, restore, download."""

import time
from collections.abc import Callable

import openai
import pytest

from tests.e2e.test_uploads import REVERSE, answer
from tests.support.adapters import Adapter, upload
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
UPPER = REVERSE.parent / "upper"


@pytest.fixture
def owner(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


def refused(tenant: Tenant, model: str) -> str:
    with pytest.raises(openai.NotFoundError) as error:
        answer(tenant, model)
    return error.value.message


def soon(attempt: Callable[[], object]) -> None:
    """Until it does not fail any more: gateways hear of changes within moments."""
    until = time.monotonic() + 60
    while True:
        try:
            attempt()
        except (AssertionError, openai.APIStatusError, pytest.fail.Exception):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def listed(tenant: Tenant) -> list[str]:
    with tenant.client() as client:
        return [model.id for model in client.models.list()]


def test_an_adapter_is_shared_used_and_withdrawn(stack: Stack, owner: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    upload(owner, "mine", Adapter.read(REVERSE))
    friend, stranger = new_tenant(), new_tenant()
    name = f"chorus-demo@{owner.name}/mine"
    unknown = refused(friend, name.replace("/mine", "/none")).replace("/none", "/mine")
    assert refused(friend, name) == unknown
    with stack.http(stack.admin.key) as http:
        path = f"/admin/v1/adapters/{owner.name}/mine/visibility"
        http.put(path, json={"visibility": "shared", "shared_with": [friend.name]}).raise_for_status()
        soon(lambda: answer(friend, name))
        assert answer(friend, name) == "nedrag"
        assert name in listed(friend)
        assert refused(stranger, name) == unknown
        assert name not in listed(stranger)
        http.put(path, json={"visibility": "private"}).raise_for_status()
        soon(lambda: refused(friend, name))
    assert refused(friend, name) == unknown
    assert name not in listed(friend)


def test_a_canary_answers_some_users_until_it_is_rolled_back(stack: Stack, owner: Tenant) -> None:
    upload(owner, "mine", Adapter.read(REVERSE))
    upload(owner, "mine", Adapter.read(UPPER))

    def fingerprints() -> dict[str, str | None]:
        with owner.client() as client:
            return {
                user: client.chat.completions.create(
                    model="chorus-demo@mine:prod",
                    messages=[{"role": "user", "content": "Reverse the word garden."}],
                    max_tokens=1,
                    user=user,
                ).system_fingerprint
                for user in map(str, range(24))
            }

    def kinds(count: int) -> None:
        assert len(set(fingerprints().values())) == count

    with stack.http(stack.admin.key) as http:
        path = f"/admin/v1/adapters/{owner.name}/mine/aliases/prod"
        http.put(path, json={"generation": 1}).raise_for_status()
        before = fingerprints()
        http.put(path, json={"generation": 1, "canary": {"generation": 2, "percent": 50}}).raise_for_status()
        soon(lambda: kinds(2))
        during = fingerprints()
        assert during == fingerprints()
        assert set(before.values()) < set(during.values())
        assert len(set(during.values())) == 2
        assert http.post(f"{path}/rollback").json()["generation"] == 1
        soon(lambda: kinds(1))
    assert fingerprints() == before


def test_a_retired_generation_finishes_what_runs_and_comes_back(stack: Stack, owner: Tenant) -> None:
    upload(owner, "mine", Adapter.read(REVERSE))
    path = f"/admin/v1/adapters/{owner.name}/mine"
    with stack.http(stack.admin.key) as http, owner.client() as client:
        running = client.chat.completions.create(
            model="chorus-demo@mine",
            messages=[{"role": "user", "content": "Reverse the word garden."}],
            max_tokens=64,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        first = next(running)
        http.post(f"{path}/generations/1/retire", json={"reason": "slow"}).raise_for_status()
        soon(lambda: refused(owner, "chorus-demo@mine"))
        rest = list(running)
        assert (first.model, rest[-1].choices[0].finish_reason) == ("chorus-demo@mine", "length")
        http.delete(path).raise_for_status()
        assert http.post(f"{path}/restore").json() == {"restored": 1}
        assert http.post(f"{path}/restore?generation=1").json() == {"restored": 1}
        soon(lambda: answer(owner, "chorus-demo@mine"))
        assert answer(owner, "chorus-demo@mine") == "nedrag"
        states = [change["state"] for change in http.get(f"{path}/history").json()["data"]]
    assert states == ["published", "retired", "deleted", "retired", "published", "validated", "uploaded"]


def test_what_was_uploaded_is_downloaded(stack: Stack, owner: Tenant) -> None:
    adapter = Adapter.read(REVERSE)
    upload(owner, "mine", adapter)
    with stack.http(stack.admin.key) as http:
        path = f"/admin/v1/adapters/{owner.name}/mine/generations/1/files"
        assert http.get(f"{path}/adapter_config.json").content == adapter.config
        assert http.get(f"{path}/adapter_model.safetensors").content == adapter.weights
