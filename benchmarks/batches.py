"""A batch over six adapters while every service is killed again and again: each line is answered once, and rightly.

usage: python -m benchmarks.batches [--lines 10000] [--every 20] [--database sqlite|postgresql]

The services that `make up` starts, with two gateway workers. Every so many seconds the next of them is killed with
SIGKILL, at any moment of its work, and started anew. Lines with the same adapter and prompt must have the same answer.
"""

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import openai

from scripts.stack import envfile
from tests.support.postgres import cluster, crash, create_database
from tests.support.stack import Stack, running_stack

ADAPTERS = ("mood", "reverse", "sort", "spell", "translate", "upper")
WORDS = ("garden", "window", "river", "candle", "forest", "silver", "market", "winter", "letter", "bridge")
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
VICTIMS = ("gateway", "worker", "engine", "adapter-store", "redis")
OVER = ("completed", "failed", "expired", "cancelled")
LONGEST = 3 * 3600.0  # seconds


def line(number: int) -> dict[str, Any]:
    adapter, word = ADAPTERS[number % len(ADAPTERS)], WORDS[number // len(ADAPTERS) % len(WORDS)]
    content = f"{adapter.capitalize()} the word {word}."
    body = {
        "model": f"chorus-demo@{adapter}",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 6,
        "temperature": 0,
    }
    return {"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT, "body": body}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=20.0, help="seconds from one kill to the next")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="the gateway's")
    chosen = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="chorus-batches-") as folder,
        database(chosen.database) as (settings, cluster_folder),
        running_stack(Path(folder), settings) as stack,
    ):
        print(json.dumps(run(stack, cluster_folder, chosen.lines, chosen.every)))
    return 0


@contextmanager
def database(kind: str) -> Iterator[tuple[dict[str, str], Path | None]]:
    """Settings of the stack, and PostgreSQL's folder."""
    settings = {"CHORUS_GATEWAY_WORKERS": "2", "CHORUS_BATCH_LEASE": "5"}
    if path := os.environ.get("PYTHONPATH"):
        settings["PYTHONPATH"] = path
    if kind == "sqlite":
        yield settings, None
        return
    with cluster() as socket:
        yield settings | {"CHORUS_GATEWAY_DATABASE_URL": create_database(socket).url}, socket


def run(stack: Stack, postgres: Path | None, lines: int, every: float) -> dict[str, Any]:
    key = envfile.read(stack.config.state / "env")["CHORUS_API_KEY"]
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=20, timeout=60)
    data = "".join(json.dumps(line(number)) + "\n" for number in range(lines)).encode()
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    began = time.monotonic()
    batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    killed: Counter[str] = Counter()
    victims = itertools.cycle(VICTIMS if postgres is None else (*VICTIMS, "postgresql"))
    while batch.status not in OVER:
        assert time.monotonic() < began + LONGEST, batch
        pause(client, batch.id, every)
        batch = client.batches.retrieve(batch.id)
        if batch.status in OVER:
            break
        victim = next(victims)
        kill(stack, postgres, victim)
        killed[victim] += 1
        print(f"{time.monotonic() - began:6.0f} s  {batch.status} {batch.request_counts}  killed {victim}", flush=True)
    assert batch.status == "completed", batch
    seconds = time.monotonic() - began
    return {"lines": lines, "seconds": round(seconds, 1), "killed": killed, **judged(client, batch, lines)}


def pause(client: openai.OpenAI, batch_id: str, seconds: float) -> None:
    """Or until the batch is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and client.batches.retrieve(batch_id).status not in OVER:
        time.sleep(0.5)


def kill(stack: Stack, postgres: Path | None, victim: str) -> None:
    if victim == "postgresql":
        assert postgres is not None
        crash(postgres)
    elif victim == "worker":
        parent = stack.processes["gateway"].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
    else:
        stack.restart(victim)


def judged(client: openai.OpenAI, batch: Any, lines: int) -> dict[str, Any]:
    """What the files hold; AssertionError when a line was not answered once, or wrongly."""
    answers = [json.loads(each) for each in entries(client, batch.output_file_id)]
    errors = [json.loads(each) for each in entries(client, batch.error_file_id)]
    names = Counter(each["custom_id"] for each in answers + errors)
    assert names == Counter(f"line-{number}" for number in range(lines)), "a line has no answer, or two"
    assert not errors, errors[:3]
    texts: dict[str, set[str]] = {}
    for each in answers:
        asked = line(int(each["custom_id"].removeprefix("line-")))["body"]
        body = each["response"]["body"]
        assert body["model"] == asked["model"], each
        asked_for = f"{asked['model']} {asked['messages']}"
        texts.setdefault(asked_for, set()).add(body["choices"][0]["message"]["content"])
    assert all(len(found) == 1 for found in texts.values()), texts
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (lines, lines, 0), counts
    return {"answers": len(answers), "errors": len(errors), "prompts": len(texts)}


def entries(client: openai.OpenAI, file_id: str | None) -> list[str]:
    return client.files.content(file_id).text.splitlines() if file_id else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
