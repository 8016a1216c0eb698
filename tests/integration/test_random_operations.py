"""Random operations on real processes, some of which are killed: `make bench-slots` does a thousand of them, and
`make test-long` as many times more as it is told to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.slots import laws
from benchmarks.slots.operations import Operations
from benchmarks.slots.oracle import Oracle
from benchmarks.slots.traffic import ROOM
from scripts.stack.config import DEMO
from tests.support.fleet import running_fleet
from tests.support.often import often
from tests.support.stack import Stack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.hypothesis,
    pytest.mark.xdist_group("operations"),
    pytest.mark.timeout(often(600)),
]
OPERATIONS = often(100)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_fleet(tmp_path_factory.mktemp("stack"), ROOM, engines=2, stores=2, adapters=False) as stack:
        yield stack


def test_every_answer_is_its_adapters_and_every_law_holds(stack: Stack, tmp_path: Path) -> None:
    tenant = stack.new_tenant("random")
    work = Operations(stack, tenant, tmp_path, seed=7)
    outcome = asyncio.run(work.run(OPERATIONS, lambda text: None))
    assert outcome.wrong == []
    assert laws.broken(stack) == []
    assert laws.strange_catalog(stack, tenant.name, work.catalog) == []
    assert laws.complaints(stack) == []
    assert len(outcome.answers) > OPERATIONS / 10  # of what is deleted or changing no answer is expected
    verdict = Oracle(DEMO / "model", tmp_path.joinpath).judge(outcome.answers, lambda text: None)
    assert verdict.wrong == ()
    assert verdict.differing > 0.8  # few answers, some of them of one token
