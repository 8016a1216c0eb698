"""Make what the clients run in: a virtual environment for each, of pinned packages, and the Node packages.

usage: python -m tests.conformance.environments

They lie in .chorus/conformance. A second run costs nothing until a pin changes. CHORUS_PIP_ARGS adds arguments to every
`pip install`.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.progress import progress

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = Path(__file__).with_name("clients")
FOLDER = ROOT / ".chorus" / "conformance"
PIP = ("install", "--disable-pip-version-check", "--no-input", "--quiet", "--prefer-binary")
NO_NODE = "The Node client needs node and npm on the PATH; install Node 20 or newer and run the same command again."


class SetupError(Exception):
    """One sentence for the person who runs it."""


@dataclass(frozen=True)
class Environment:
    """`pins` is a file below `clients/`: a requirements.txt, or Node's package-lock.json."""

    name: str
    pins: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def source(self) -> Path:
        return CLIENTS / self.pins

    def make(self) -> None:
        """SetupError when it cannot be made."""
        stamp = self.folder / "installed-from"
        digest = hashlib.sha256(self.source.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with progress(f"Installing the client {self.name}"):
            (_install_node if self is NODE else _install_python)(self)
        stamp.write_text(digest)


SCHEMATHESIS = Environment("schemathesis", "schemathesis/requirements.txt")
NODE = Environment("node", "node/package-lock.json")
PYTHON = (
    Environment("openai-python-1", "openai_python/openai-1.txt"),
    Environment("openai-python-2", "openai_python/openai-2.txt"),
    Environment("openai-python-3", "openai_python/openai-3.txt"),
    Environment("langchain-openai", "langchain/requirements.txt"),
    Environment("litellm", "litellm/requirements.txt"),
)


def _install_python(environment: Environment) -> None:
    _run([sys.executable, "-m", "venv", str(environment.folder)])
    extra = shlex.split(os.environ.get("CHORUS_PIP_ARGS", ""))
    _run([str(environment.python), "-m", "pip", *PIP, *extra, "-r", str(environment.source)])


def _install_node(environment: Environment) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise SetupError(NO_NODE)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(environment.source.with_name(name), environment.folder)
    _run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(environment.folder)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        said = (
            [line for line in done.stdout.splitlines() if "rror" in line]
            or done.stdout.splitlines()[-1:]
            or ["nothing"]
        )
        raise SetupError(f"`{' '.join(command[:4])} …` failed and said: {said[-1].strip()}")


def main() -> None:
    for environment in (*PYTHON, SCHEMATHESIS, NODE):
        environment.make()


if __name__ == "__main__":
    try:
        main()
    except (SetupError, OSError) as error:
        sys.exit(f"chorus: {error}")
