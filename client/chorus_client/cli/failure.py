"""How a command ends when it does not go well."""

from chorus_client.errors import ChorusError

FAILED = 1  # the gateway refused, did not answer, or a file is not as it must be
MISUSED = 2  # the command line, the environment or the configuration is wrong
INTERRUPTED = 130  # Ctrl-C
READER_GONE = 141  # whoever read the output stopped, as `head` does


class Failure(Exception):
    """One sentence for the person at the terminal, and the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class Misuse(Failure):
    def __init__(self, message: str) -> None:
        super().__init__(message, MISUSED)


def sentence(error: Exception) -> str:
    """What went wrong, on one line."""
    if isinstance(error, OSError) and not isinstance(error, ChorusError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or error}."
    return " ".join(str(error).split())
