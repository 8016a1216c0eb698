"""The commit that figures belong to."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("kernels", "services", "proto", "benchmarks/*.py", "benchmarks/*/*.py")


def commit() -> str:
    """Of this tree; a dirty tree is said so, and one without git is "unknown"."""
    try:
        head, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", *MEASURED)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" (dirty)" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    print(commit())
