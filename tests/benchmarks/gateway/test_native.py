"""The load client and the stub's HTTP face, against each other."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gateway.native import Native
from benchmarks.gateway.stack import first_line, running

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
BODY = {"model": "stub", "messages": [], "max_tokens": 5}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native.build(tmp_path_factory.mktemp("native"))


@pytest.fixture
def port(native: Native, tmp_path: Path) -> Iterator[int]:
    with running(native.face, tmp_path / "face.log") as process:
        yield int(first_line(process, tmp_path / "face.log"))


def test_whole_answers(native: Native, port: int) -> None:
    load = native.load(port, native.request("key", BODY), connections=3, seconds=0.3, warmup=0.1)
    assert load.answers > 20
    assert load.failures == load.events == 0
    assert 0 < load.latency.p50 <= load.latency.p99 <= load.latency.max


@pytest.mark.parametrize("seed", [0, 2000])
def test_every_token_of_a_stream_is_counted(native: Native, port: int, seed: int) -> None:
    body = {**BODY, "stream": True, "seed": seed}
    load = native.load(port, native.request("key", body), connections=1, seconds=0.4, warmup=0.0)
    # Whatever is under way in the end has given a part of its tokens.
    assert 5 * load.answers <= load.tokens <= 5 * (load.answers + 1)
    assert 8 * load.answers <= load.events <= 8 * (load.answers + 1)


def test_a_fixed_pace_is_kept(native: Native, port: int) -> None:
    load = native.load(port, native.request("key", BODY), connections=20, seconds=1.0, warmup=0.2, rate=100)
    assert 80 <= load.answers <= 101
