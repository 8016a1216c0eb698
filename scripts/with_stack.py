"""Run a command against this folder's stack, which is started for it when none runs.

usage: python -m scripts.with_stack COMMAND [ARGUMENT ...]

The command finds CHORUS_BASE_URL and the keys in its environment; where CHORUS_BASE_URL is set already, that stack is
meant and none is started.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

from scripts.stack import envfile
from scripts.stack.config import StackConfig
from scripts.stack.detach import detach, stop
from scripts.stack.errors import StackError
from scripts.stack.lock import holder


def main(command: list[str]) -> int:
    if os.environ.get("CHORUS_BASE_URL"):
        return _run(command, {})  # it is told of another stack
    config = StackConfig.read(os.environ)
    if holder(config.state) is not None:
        return _run(command, envfile.read(config.env_file))
    try:
        return detach(config) or _run(command, envfile.read(config.env_file))
    finally:
        stop(config.state)


def _run(command: list[str], values: Mapping[str, str]) -> int:
    return subprocess.run(command, env={**os.environ, **values}, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        sys.exit(f"chorus: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
