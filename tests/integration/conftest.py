"""A stack for each module of tests that break it."""

from collections.abc import Iterator

import pytest

from scripts.stack import envfile
from scripts.stack.seed import TENANT
from tests.support.stack import Stack, Tenant, running_stack


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Nothing is fetched before it is asked for."""
    with running_stack(tmp_path_factory.mktemp("stack"), {"CHORUS_PLACEMENT": "off"}) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """Whole again before and after each test."""
    shared_stack.mend()
    yield shared_stack
    shared_stack.mend()


@pytest.fixture
def demo(stack: Stack) -> Tenant:
    return Tenant(stack, TENANT, envfile.read(stack.config.state / "env")["CHORUS_API_KEY"])
