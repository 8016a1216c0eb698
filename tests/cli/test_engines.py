import pytest

from tests.cli.conftest import ENGINE, Chorus

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def state(chorus: Chorus) -> str:
    (row,) = [row for row in chorus("engines", "list").rows if row[0] == ENGINE]
    return row[3]


def test_engines_are_listed_and_drained(chorus: Chorus) -> None:
    assert state(chorus) == "ready"
    assert chorus("engines", "drain", ENGINE).status == 0
    assert state(chorus) == "draining"
    assert chorus("engines", "undrain", ENGINE).status == 0
    assert state(chorus) == "ready"
    unknown = chorus("engines", "drain", "nobody")
    assert (unknown.status, unknown.err.count("\n"), "nobody" in unknown.err) == (1, 1, True)
