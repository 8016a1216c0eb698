"""The committed stubs are what their .proto files say, and the oldest supported protobuf can read them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUBS = sorted((ROOT / "proto" / "chorus_proto").rglob("*_pb2.py"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("proto-stubs")
def test_committed_stubs_are_what_the_proto_files_say() -> None:
    outcome = subprocess.run(
        [sys.executable, "proto/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_there_is_a_stub_for_every_proto_file() -> None:
    sources = {path.stem for path in (ROOT / "proto" / "chorus_proto").rglob("*.proto")}
    assert sources
    assert sources == {path.stem.removesuffix("_pb2") for path in STUBS}


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.stem)
def test_stubs_ask_for_no_newer_protobuf_than_the_distribution_admits(stub: Path) -> None:
    declared = re.search(r'"protobuf>=([\d.]+)"', (ROOT / "proto" / "pyproject.toml").read_text())
    generated = re.search(r"# Protobuf Python Version: ([\d.]+)", stub.read_text())
    assert declared
    assert generated

    def version(match: re.Match[str]) -> tuple[int, ...]:
        return tuple(int(part) for part in match[1].split("."))[:2]

    assert version(generated) <= version(declared)
