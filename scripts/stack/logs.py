"""What services write: every line into a file each, on the screen only what a person should see."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from scripts.stack.config import StackConfig

LOUD = ("warning", "error", "critical")
REDIS_LOUD = re.compile(r"^\d+:\w .* # ")  # redis-server marks its warnings so
PROGRESS_BAR = re.compile(r"\d+%\|")


@dataclass(slots=True)
class ServiceLog:
    """`said` is its last line in words, `complaint` the last one that tells of trouble."""

    path: Path
    file: TextIO
    said: str = ""
    complaint: str = ""

    @classmethod
    def open(cls, path: Path) -> "ServiceLog":
        """A fresh file; the last run's is kept beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(path.with_name(f"{path.name}.1"))
        return cls(path, path.open("w", buffering=1))

    def write(self, line: str) -> bool:
        """Whether a person should see it."""
        self.file.write(line + "\n")
        level, text = interpret(line)
        if text:
            self.said = text
            if level in LOUD:
                self.complaint = text
        return bool(text) and level in LOUD


class Logs:
    """One log a service."""

    def __init__(self, config: StackConfig, services: Iterable[str]) -> None:
        self._logs = {service: ServiceLog.open(config.log(service)) for service in services}

    def of(self, service: str) -> ServiceLog:
        return self._logs[service]

    def close(self) -> None:
        for log in self._logs.values():
            log.file.close()


def interpret(line: str) -> tuple[str, str]:
    """(level, words) of a line: JSON as our services log, Redis' own form, or plain text, which counts as an error:
    it is a refusal to start or a traceback."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if isinstance(entry, dict):
        words = entry.get("message") or entry.get("event") or entry.get("msg") or ""
        extra = entry.get("error") or entry.get("exception") or ""
        last = str(extra).strip().splitlines()[-1:] if extra else []
        return str(entry.get("level", "info")).lower(), ": ".join([str(words), *last])
    text = line.strip()
    if re.match(r"^\d+:[A-Z] ", text):
        return ("warning" if REDIS_LOUD.match(text) else "info"), text.split(" ", 6)[-1]
    return ("info" if PROGRESS_BAR.search(text) else "error"), text
