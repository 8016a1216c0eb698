"""Run a command against this folder's stack, which is started for it when none runs.

usage: python -m scripts.with_stack COMMAND [ARGUMENT ...]
"""

import os
import subprocess
import sys

from scripts.stack.config import StackConfig
from scripts.stack.detach import detach, stop
from scripts.stack.errors import StackError
from scripts.stack.lock import holder


def main(command: list[str]) -> int:
    config = StackConfig.read(os.environ)
    if holder(config.state) is not None:
        return subprocess.run(command, check=False).returncode
    try:
        return detach(config) or subprocess.run(command, check=False).returncode
    finally:
        stop(config.state)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        sys.exit(f"chorus: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
