"""The command `chorus`: docs/cli.md."""

import sys

NEEDED = ("rich", "typer")


def main() -> None:
    """Ends the process with the command's status."""
    try:
        from chorus_client.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"chorus: The command needs {error.name}: install it with `pip install 'chorus-client[cli]'`.")
    sys.exit(run(sys.argv[1:]))
