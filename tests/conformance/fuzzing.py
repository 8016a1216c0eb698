"""A run of schemathesis: what it is to ask, and how it ended."""

import json
import os
import subprocess
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
HOOKS = CLIENTS / "schemathesis"
RUN_SECONDS = 3600


@dataclass(frozen=True)
class Fuzzing:
    """`description` is an OpenAPI file, `url` what its paths are under, `known` what hooks.py is told."""

    description: Path
    url: str
    key: str
    known: dict[str, Any]
    checks: tuple[str, ...]
    paths: str = ""  # an expression: those alone
    examples: int = 20  # of each kind and operation

    def run(self) -> "Ended":
        report = self.description.with_name(f"{self.description.stem}-{abs(hash(self.paths))}-report.json")
        only = ["--include-path-regex", self.paths] if self.paths else []
        command = [str(SCHEMATHESIS.python), "-m", "schemathesis.cli", "--no-color", "run", str(self.description)]
        command += ["--url", self.url, "--header", f"Authorization: Bearer {self.key}", *only]
        command += ["--checks", ",".join(self.checks), "--max-examples", str(self.examples), "--continue-on-failure"]
        command += ["--no-shrink", "--generation-deterministic"]
        command += ["--suppress-health-check", "all", "--report", "json", "--report-json-path", str(report)]
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
        told = json.loads(report.read_text())
        return Ended(len(told["operations"]), told["test_cases"]["generated"], done.returncode, done.stdout)


@dataclass(frozen=True)
class Ended:
    operations: int
    cases: int
    status: int
    said: str
