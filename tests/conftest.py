"""What every test runs with: Triton's kernels under its interpreter where there is no card, random tests that find
tomorrow what they find today, and tests of one group on one worker."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.postgres import postgres, postgres_database

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports them

settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.register_profile("random", print_blob=True)
settings.load_profile("repeatable")  # pytest's --hypothesis-profile loads another one afterwards

__all__ = ["postgres", "postgres_database"]  # fixtures of several services' tests, so that there is one server for all


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """xdist 3.8 writes a test's group into a name that pytest 9.2 does not read any more: without this every worker
    would start what a group shares."""
    for item in items:
        named = getattr(item, "_nodeid", item.nodeid)
        if named != item.nodeid:
            item._id = type(item._id).parse(named)
