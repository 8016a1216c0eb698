import os

import pytest

from chorus_engine.startup import default_threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7), (17, 16), (96, 16)])
def test_one_core_stays_free(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert default_threads() == threads
