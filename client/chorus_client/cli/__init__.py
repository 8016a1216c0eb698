"""The command `chorus`: docs/cli.md."""

import os
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
    _open_streams()
    sys.exit(run(sys.argv[1:]))


def _open_streams() -> None:
    """A shell may have closed some. What a terminal's alphabet lacks is shown as a question mark."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lives
        else:
            stream.reconfigure(errors="replace")
