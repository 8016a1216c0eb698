"""The Python client on a whole stack: its page, and an adapter that answers once it is uploaded and pinned."""

import time

import pytest

from chorus_client import ChorusAdmin, Tier
from scripts.stack.config import DEMO_NAME
from tests.client.page import ROOT, run_page
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


@pytest.fixture
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_BASE_URL", f"{stack.url}/v1")
    monkeypatch.setenv("CHORUS_ADMIN_KEY", stack.environment["CHORUS_ADMIN_KEY"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("environment")
def test_what_the_page_shows_works(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page()
    names["admin"].close()
    shown = capsys.readouterr().out
    assert "2 generations deleted\n2 are back\n404" in shown
    assert "slots free" in shown


@pytest.mark.usefixtures("environment")
def test_a_pin_brings_an_adapter_to_the_engine(stack: Stack) -> None:
    tenant = stack.new_tenant("pinning")
    with ChorusAdmin.from_environment() as admin, tenant.client() as client:
        admin.adapters.upload("pinning", "mine", DEMO_NAME, "examples/demo/adapters/reverse")
        admin.pins.set("pinning", "mine", tier=Tier.GPU)
        until = time.monotonic() + 30
        while not admin.pins.get("pinning", "mine").held:
            assert time.monotonic() < until, admin.engines.list()
            time.sleep(0.1)
        (resident,) = admin.adapters.residency("pinning", "mine").residents
        assert (resident.tier, resident.state, resident.pinned) == (Tier.GPU, "ready", True)
        (engine,) = admin.engines.list()
        assert (engine.id, engine.model) == (resident.engine, DEMO_NAME)
        answer = client.completions.create(model="mine", prompt="Reverse the word garden.", max_tokens=4)
        assert answer.usage is not None
        admin.pins.remove("pinning", "mine")
