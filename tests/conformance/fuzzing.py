"""A run of schemathesis: what it is to ask, and how it ended."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.environments import CLIENTS, SCHEMATHESIS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
OUR_CHECKS = (*CHECKS, "negative_data_rejection", "ignored_auth", "unsupported_method")
Json = dict[str, Any]
HOOKS = CLIENTS / "schemathesis"
RUN_SECONDS = 3600


@dataclass(frozen=True)
class Fuzzing:
    """`description` is an OpenAPI file, `url` what its paths are under, `known` what hooks.py is told."""

    description: Path
    url: str
    key: str
    known: Json
    checks: tuple[str, ...]
    paths: str = ""  # an expression: those alone
    examples: int = 20  # of each kind and operation

    def operations(self) -> frozenset[str]:
        """Those that are described, such as `GET /v1/models`."""
        paths = json.loads(self.description.read_text())["paths"]
        found = [(path, method) for path, methods in paths.items() for method in methods if re.search(self.paths, path)]
        return frozenset(f"{method.upper()} {path}" for path, method in found)

    def run(self) -> "Ended":
        report = self.description.with_name("report.ndjson")
        only = ["--include-path-regex", self.paths] if self.paths else []
        command = [str(SCHEMATHESIS.python), "-m", "schemathesis.cli", "--no-color", "run", str(self.description)]
        command += ["--url", self.url, "--header", f"Authorization: Bearer {self.key}", *only]
        command += ["--checks", ",".join(self.checks), "--max-examples", str(self.examples), "--continue-on-failure"]
        command += ["--no-shrink", "--generation-deterministic"]
        command += [
            "--request-timeout",
            "300",
            "--suppress-health-check",
            "all",
            "--report",
            "ndjson",
            "--report-ndjson-path",
            str(report),
        ]
        done = subprocess.run(
            command,
            cwd=self.description.parent,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HOOKS), "CHORUS_CONFORMANCE": json.dumps(self.known)},
            check=False,
        )
        assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
        with report.open() as lines:
            answers = Counter(answer for line in lines for answer in _answers(json.loads(line)))
        return Ended(done.returncode, done.stdout, answers)


@dataclass(frozen=True)
class Ended:
    """`answers` counts them by operation and status; with methods that are not described, too."""

    status: int
    said: str
    answers: Counter[tuple[str, int]]

    @property
    def good(self) -> set[str]:
        """Operations that were answered well at least once."""
        return {operation for operation, status in self.answers if status < 300}

    def __str__(self) -> str:
        statuses: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            statuses[status] += count
        told = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
        return f"{statuses.total()} requests were answered: {told}"


def _answers(line: Json) -> Iterator[tuple[str, int]]:
    """Of a line of the report; those that came to nothing are its failures."""
    recorder = line.get("ScenarioFinished", {}).get("recorder", {})
    for number, interaction in recorder.get("interactions", {}).items():
        case, response = recorder["cases"][number]["value"], interaction.get("response")
        if response is not None:
            yield f"{case['method']} {case['path']}", response["status_code"]
