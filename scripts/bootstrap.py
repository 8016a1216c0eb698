"""Make .venv and install Chorus into it: the pinned packages first, then the six distributions, editable.

usage: python -m scripts.bootstrap up [dev]

The arguments are dependency groups of the root pyproject.toml. Stamps in .venv say what was installed, so that a
second run costs nothing. Standard library only, since nothing is installed yet. CHORUS_PIP_ARGS adds arguments to
every `pip install`, such as an index of CPU builds.
"""

import hashlib
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from scripts.progress import Progress, progress

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = ROOT / ".chorus" / "logs" / "setup.log"
DISTRIBUTIONS = ("proto", "kernels", "client", "services/adapter-store", "services/engine", "services/gateway")
EXTRAS = {"client": "[cli]"}  # the command `chorus`
NO_COMPILER = (
    "command 'gcc' failed",
    "command 'cc' failed",
    "unable to execute 'gcc'",
    "No such file or directory: 'gcc'",
    "No such file or directory: 'cc'",
    "no acceptable C compiler",
)
OFFLINE = (
    "Failed to establish a new connection",
    "Name or service not known",
    "Network is unreachable",
    "Temporary failure in name resolution",
)
PIP = ("install", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--prefer-binary")


class SetupError(Exception):
    """One sentence for the person who runs it."""


def main(groups: list[str]) -> None:
    digest = _sources_digest()
    if all(_stamp(group).exists() and _stamp(group).read_text() == digest for group in groups):
        return
    LOG.parent.parent.mkdir(mode=0o700, exist_ok=True)  # secrets and databases will lie here
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    if not _python().exists():
        create_venv()
    for title, arguments in _installs(groups):
        with progress(title) as step:
            pip_install(arguments, step)
    for group in groups:
        _stamp(group).write_text(digest)


def _python() -> Path:
    return VENV / "bin" / "python"


def _stamp(group: str) -> Path:
    """Says what this group was last installed from; gone with .venv."""
    return VENV / f"chorus-installed-{group}"


def _sources_digest() -> str:
    """Of all that decides what is installed. The path counts, since editable installs point to it."""
    digest = hashlib.sha256(f"{ROOT} {os.environ.get('CHORUS_PIP_ARGS', '')}".encode())
    for source in ("constraints.txt", "pyproject.toml", *(f"{folder}/pyproject.toml" for folder in DISTRIBUTIONS)):
        digest.update((ROOT / source).read_bytes())
    return digest.hexdigest()


def _group(name: str) -> list[str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    if name not in groups:
        raise SetupError(f"pyproject.toml has no dependency group {name!r}, only {', '.join(groups)}.")
    return [str(requirement) for requirement in groups[name]]


def create_venv() -> None:
    try:
        import ensurepip  # noqa: F401  # Debian leaves it out of python3
        import venv
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        raise SetupError(
            f"This Python has no venv module; install it and run the same command again (Debian: apt-get install "
            f"python{version}-venv)."
        ) from None
    with progress(f"Creating .venv with Python {sys.version.split()[0]}"):
        venv.create(VENV, with_pip=True, clear=True)


def _installs(groups: list[str]) -> list[tuple[str, list[str]]]:
    """What to install, in order. torch goes alone and first: a CPU build that lies on the machine is then taken."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    editable = [argument for folder in DISTRIBUTIONS for argument in ("-e", f"{ROOT / folder}{EXTRAS.get(folder, '')}")]
    packages = [requirement for group in groups for requirement in _group(group)]
    return [
        ("Installing the build tools", ["hatchling", "editables"]),
        (f"Installing torch {pins['torch']}", [f"torch=={pins['torch']}"]),
        ("Installing Chorus and its packages", ["--no-build-isolation", *editable, *packages]),
    ]


def pip_install(arguments: list[str], step: Progress) -> None:
    extra = shlex.split(os.environ.get("CHORUS_PIP_ARGS", ""))
    constraints = ("-c", str(ROOT / "constraints.txt"))
    command = [str(_python()), "-m", "pip", *PIP, *constraints, *extra, *arguments]
    lines: list[str] = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as pip,
    ):
        assert pip.stdout
        for line in pip.stdout:
            log.write(line)
            lines.append(line.strip())
            if line.strip().startswith(("Collecting", "Downloading", "Installing", "Building")):
                step.note = line.strip()[:70]
    if pip.returncode:
        raise SetupError(failure(lines))


def failure(lines: list[str]) -> str:
    output = "\n".join(lines)
    if any(sign in output for sign in NO_COMPILER):
        return (
            "A package had to be compiled and this machine has no C compiler; install one and run the same command "
            "again (Debian: apt-get install build-essential python3-dev)."
        )
    if any(sign in output for sign in OFFLINE):
        return f"pip cannot reach its package index; check the network or pip's configuration (log: {LOG})."
    if "No space left on device" in output:
        return f"The disk is full: an installation needs about 8 GB below {ROOT}."
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["it said nothing"]
    return f"pip failed: {errors[-1].removeprefix('ERROR: ')} (log: {LOG})."


if __name__ == "__main__":
    try:
        main(sys.argv[1:] or ["up"])
    except (SetupError, OSError) as error:
        sys.exit(f"chorus: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
