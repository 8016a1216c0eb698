import inspect
import re

import pytest

import chorus_client
from chorus_client import ChorusError, Refused
from tests.client.conftest import Running
from tests.client.page import PAGE, ROOT, run_page

pytestmark = pytest.mark.xdist_group("client")  # one gateway for all of them


def test_what_the_page_shows_works(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHORUS_BASE_URL", f"{gateway.url}/v1")
    monkeypatch.setenv("CHORUS_ADMIN_KEY", gateway.admin_key)
    monkeypatch.chdir(ROOT)
    names = run_page()
    names["admin"].close()
    assert (names["first"], names["second"]) == (1, 2)
    shown = capsys.readouterr().out
    assert "2 generations deleted\n2 are back\n404 None" in shown
    assert "100%" in shown


def test_every_exception_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    kinds = {each for _, each in inspect.getmembers(chorus_client, inspect.isclass) if issubclass(each, ChorusError)}
    assert {each.__name__ for each in kinds} - {"ChorusError"} <= named
    assert Refused in kinds
