"""Regenerate the Python stubs beside the .proto files.

usage: python proto/generate.py [--check]

Stubs newer than the protobuf runtime fail at import, so they are generated with the oldest protobuf that Chorus
supports, in an environment of its own (.chorus/proto-venv), whatever runtime is installed. With --check nothing is
written: the exit status is 1 if the committed stubs differ from what would be generated.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT.parent / ".chorus" / "proto-venv"
# grpcio-tools 1.70.0 writes code for protobuf >= 5.29 and grpcio >= 1.70: the oldest that the pyproject files admit.
TOOLS = ("grpcio-tools==1.70.0", "protobuf==5.29.6", "mypy-protobuf==3.6.0", "setuptools<81")


def tools_python() -> Path:
    """Path of the Python that has the generators, installed on first use."""
    python = ENVIRONMENT / "bin" / "python"
    probe = [str(python), "-c", "import grpc_tools.protoc, mypy_protobuf"]
    if not python.exists() or subprocess.run(probe, capture_output=True).returncode:
        print(f"installing {', '.join(TOOLS)} into {ENVIRONMENT.name} ...", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *TOOLS], check=True)
    return python


def generate(out: Path) -> list[Path]:
    """Write all stubs below `out`; return their paths relative to it."""
    python = tools_python()
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("chorus_proto/**/*.proto"))
    plugin = f"--plugin=protoc-gen-mypy_grpc={ENVIRONMENT / 'bin' / 'protoc-gen-mypy_grpc'}"
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    subprocess.run([str(python), "-m", "grpc_tools.protoc", "-I.", plugin, *outputs, *sources], cwd=ROOT, check=True)
    return sorted(path.relative_to(out) for path in out.glob("chorus_proto/**/*_pb2*.py*"))


def check() -> int:
    with tempfile.TemporaryDirectory() as fresh:
        stubs = generate(Path(fresh))
        committed = {
            path.relative_to(ROOT) for path in ROOT.glob("chorus_proto/**/*_pb2*.py*") if path.suffix != ".pyc"
        }
        stale = {str(stub) for stub in stubs if not same(Path(fresh) / stub, ROOT / stub)} | {
            str(stub) for stub in committed - set(stubs)
        }
    for stub in sorted(stale):
        print(f"proto/{stub} differs from its .proto file: run `make proto` and commit the result")
    return bool(stale)


def same(left: Path, right: Path) -> bool:
    return right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        sys.exit(check())
    for path in generate(ROOT):
        print(f"proto/{path}")
