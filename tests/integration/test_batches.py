"""A worker is killed that works on a batch, and another one goes on with it.

Ten thousand lines over six adapters while every service is killed again and again: python -m benchmarks.batches
"""

import json
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.front_door import FrontDoor, body, eventually, front_door

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("front door"), pytest.mark.timeout(180)]

LINES = 60
SETTINGS = {"CHORUS_GATEWAY_WORKERS": "2", "CHORUS_BATCH_LEASE": "1", "CHORUS_BATCH_CONCURRENCY": "4"}
PAUSE = 0.05  # seconds before each of an answer's four tokens
TWICE = 8  # lines, at most: those that ran, and those that ended in the last tenth of a second


def line(number: int) -> dict[str, Any]:
    fields = {"temperature": 9} if number % 10 == 0 else {}
    asked = body(tokens=4, pause=PAUSE, prompt=f"Line {number}", **fields)
    return {"custom_id": f"c{number}", "method": "POST", "url": "/v1/completions", "body": asked}


def test_the_worker_that_has_a_batch_is_killed(tmp_path: Path) -> None:
    with front_door(tmp_path, SETTINGS, engines=1) as door:
        batch = start(door)
        eventually(lambda: counts(door, batch)["completed"] >= 8, 60)
        os.kill(owner(door), signal.SIGKILL)
        eventually(lambda: show(door, batch)["status"] == "completed", 60, lambda: str(show(door, batch)) + door.tail())
        done = show(door, batch)
        output, errors = entries(door, done["output_file_id"]), entries(door, done["error_file_id"])
        numbers = range(1, LINES + 1)
        assert Counter(each["custom_id"] for each in output) == Counter(f"c{n}" for n in numbers if n % 10)
        assert Counter(each["custom_id"] for each in errors) == Counter(f"c{n}" for n in numbers if not n % 10)
        assert {each["response"]["body"]["usage"]["completion_tokens"] for each in output} == {4}
        assert done["request_counts"] == {"total": LINES, "completed": LINES * 9 // 10, "failed": LINES // 10}
        # What the dead worker had asked and not taken down was asked once more, and both are in the ledger.
        eventually(lambda: requests(door) >= LINES * 9 // 10)
        assert requests(door) <= LINES * 9 // 10 + TWICE


def start(door: FrontDoor) -> str:
    content = "".join(json.dumps(line(number)) + "\n" for number in range(1, LINES + 1))
    with door.http() as http:
        files = {"file": ("in.jsonl", content.encode())}
        file = http.post("/v1/files", files=files, data={"purpose": "batch"}).json()
        wanted = {"input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
        return str(http.post("/v1/batches", json=wanted).json()["id"])


def show(door: FrontDoor, batch: str) -> dict[str, Any]:
    with door.http() as http:
        shown: dict[str, Any] = http.get(f"/v1/batches/{batch}").json()
        return shown


def counts(door: FrontDoor, batch: str) -> dict[str, int]:
    found: dict[str, int] = show(door, batch)["request_counts"]
    return found


def requests(door: FrontDoor) -> int:
    with door.http() as http:
        return sum(day["requests"] for day in http.get("/v1/usage").json()["data"])


def entries(door: FrontDoor, file_id: str) -> list[Any]:
    with door.http() as http:
        return [json.loads(each) for each in http.get(f"/v1/files/{file_id}/content").text.splitlines()]


def owner(door: FrontDoor) -> int:
    """The worker whose journal has the most: nobody asks anything but the batch."""
    parent = door.gateway.popen.pid
    workers = [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return max(workers, key=journal_bytes)


def journal_bytes(pid: int) -> int:
    """Of its journal's files that a worker has open."""
    total = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            total += link.stat().st_size if link.readlink().parent.name == "journal" else 0
    return total
