"""Whether a batch's input can be worked on at all: read once, before anything is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from chorus_gateway.batches.lines import parse, split
from chorus_gateway.batches.values import Problem
from chorus_gateway.errors import NotFound
from chorus_gateway.files import FileStore

MAX_LINES = 50_000
MAX_PROBLEMS = 100  # that are told


@dataclass(frozen=True, slots=True)
class Checked:
    total: int  # lines
    problems: Sequence[Problem] = ()
    model: str | None = None  # that all lines name


class Validation:
    def __init__(self, files: FileStore, *, max_line: int) -> None:
        """`max_line` in bytes."""
        self._files = files
        self._max_line = max_line

    async def check(self, file_id: str, endpoint: str) -> Checked:
        total, seen, problems, models = 0, dict[bytes, int](), list[Problem](), set[str]()
        try:
            file = await self._files.stored(file_id)
        except NotFound:
            return Checked(0, [Problem("file_not_found", f"The input file '{file_id}' is gone.")])
        async for number, text in split(self._files.chunks(file), self._max_line):
            total += 1
            if total > MAX_LINES:
                message = f"The file may have at most {MAX_LINES} requests and has more; make several batches of it."
                return Checked(0, [Problem("too_many_requests", message)])
            line = parse(number, text, endpoint, self._max_line)
            if isinstance(line, Problem):
                problems.append(line)
                continue
            if len(models) < 2:  # whether there are more is all that matters
                models.add(str(line.body.get("model")))
            if (first := seen.setdefault(_digest(line.custom_id), number)) != number:
                message = f"custom_id: line {first} has {line.custom_id[:100]!r} too; each must be unique."
                problems.append(Problem("duplicate_custom_id", message, number, "custom_id"))
            if len(problems) >= MAX_PROBLEMS:
                break
        if not total:
            problems.append(Problem("empty_file", "The input file has no lines; write one request a line."))
        return Checked(total, problems, models.pop() if len(models) == 1 else None)


def _digest(custom_id: str) -> bytes:
    """Fifty thousand of the longest ids would take 100 MB."""
    return blake2b(custom_id.encode(), digest_size=16).digest()
