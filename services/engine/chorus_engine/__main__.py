"""`python -m chorus_engine`."""

import sys

from chorus_engine.config import load_settings
from chorus_engine.core.errors import StartError


def main() -> int:
    """The exit status: 0 after a clean stop, 1 when the engine broke, 2 when it could not start."""
    try:
        settings = load_settings(sys.argv[1:])
        from chorus_engine.main import run  # torch takes seconds: --help and wrong settings do not wait for it

        return run(settings)
    except StartError as error:
        sys.stderr.write(f"chorus-engine: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
