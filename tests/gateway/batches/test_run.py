"""One batch: what its files hold, whatever happens in between."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.values import Status
from chorus_gateway.db import Database
from chorus_gateway.values import Usage
from tests.gateway.support.batches import TENANT, FakeAsks, Ground, bad, custom_ids, good, line, lines, reached


async def end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_line_is_in_one_of_the_files(any_database: Database) -> None:
    def reply(body: Mapping[str, Any], tries: int) -> Answered:
        return bad(400) if body["prompt"] in ("p3", "p7") else good(body)

    ground = Ground(any_database, FakeAsks(reply))
    batch = await ground.worked(await ground.create(lines(10)))
    assert batch.status is Status.COMPLETED
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (10, 8, 2)
    output, errors = await ground.entries(batch.output_file_id), await ground.entries(batch.error_file_id)
    assert [each["custom_id"] for each in output] == [f"c{n}" for n in range(1, 11) if n not in (3, 7)], "input's order"
    assert [each["custom_id"] for each in errors] == ["c3", "c7"]
    assert output[0]["response"]["status_code"] == 200
    assert output[0]["response"]["request_id"] == "req_1"
    assert output[0]["response"]["body"]["text"] == "p1"
    assert (batch.usage, batch.model) == (Usage(8 * 5, 8 * 2, 8), "chorus-demo")
    assert output[0]["error"] is None
    assert errors[0]["response"]["status_code"] == 400
    assert errors[0]["response"]["body"]["error"]["message"] == "no"
    assert len({each["id"] for each in output + errors}) == 10
    assert list(batch.moments) == ["in_progress_at", "finalizing_at", "completed_at"]


async def test_no_more_lines_run_at_once_than_are_allowed(database: Database) -> None:
    ground = Ground(database)
    await ground.worked(await ground.create(lines(40)))
    assert ground.asks.most == 4


async def test_what_is_away_is_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chorus_gateway.batches.patience.FIRST", 0.01)

    def reply(body: Mapping[str, Any], tries: int) -> Answered:
        return good(body) if tries == 3 else bad((503, 500, 429)[int(body["prompt"][1:]) % 3])

    ground = Ground(database, FakeAsks(reply))
    batch = await ground.worked(await ground.create(lines(6)))
    assert batch.counts.completed == 6
    assert set(ground.asks.asked.values()) == {3}


async def test_a_line_that_asks_for_a_stream_is_refused(database: Database) -> None:
    content = json.dumps(line(1, body={"model": "m", "prompt": "p1", "stream": True})).encode()
    ground = Ground(database)
    batch = await ground.worked(await ground.create(content))
    (error,) = await ground.entries(batch.error_file_id)
    assert error["response"]["body"]["error"]["param"] == "stream"
    assert batch.output_file_id is None, "there is nothing in it"
    assert not ground.asks.asked


async def test_wrong_input_fails_the_batch_and_asks_nothing(any_database: Database) -> None:
    ground = Ground(any_database)
    batch = await ground.worked(await ground.create(lines(3) + b"nonsense\n" + lines(1)))
    assert batch.status is Status.FAILED
    assert [(problem.code, problem.line) for problem in batch.problems] == [
        ("invalid_json_line", 4),
        ("duplicate_custom_id", 5),
    ]
    assert not ground.asks.asked


async def test_a_cancelled_batch_keeps_what_it_has(any_database: Database) -> None:
    def reply(body: Mapping[str, Any], tries: int) -> Answered | None:
        return good(body) if body["prompt"] in ("p1", "p2") else None

    ground = Ground(any_database, FakeAsks(reply))
    batch = await ground.create(lines(8))
    process = ground.process()

    async def two() -> bool:
        return (await ground.now(batch)).counts.completed == 2

    await reached(two)
    assert (await ground.store.cancel(TENANT, batch.id)).status is Status.CANCELLING
    batch = await ground.over(batch)
    await end(process)
    assert batch.status is Status.CANCELLED
    assert ground.asks.running == 0
    assert ground.asks.cancelled == 4, "those that ran end in their engines too"
    assert (batch.counts.completed, batch.counts.failed) == (2, 6)
    assert sorted(await ground.answered(batch)) == sorted(custom_ids(8))
    errors = await ground.entries(batch.error_file_id)
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}


async def test_a_batch_that_nobody_has_begun_is_cancelled(database: Database) -> None:
    ground = Ground(database)
    batch = await ground.create(b"nonsense")
    await ground.store.cancel(TENANT, batch.id)
    batch = await ground.worked(batch)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == (Status.CANCELLED, None, None)


async def test_a_batch_whose_window_ends_keeps_what_it_has(database: Database) -> None:
    def reply(body: Mapping[str, Any], tries: int) -> Answered | None:
        return None if body["prompt"] == "p2" else good(body)

    ground = Ground(database, FakeAsks(reply))
    batch = await ground.create(lines(3))
    process = ground.process()

    async def two() -> bool:
        return (await ground.now(batch)).counts.completed == 2

    await reached(two)
    await end(process)
    await ground.set(batch, expires_at=batch.created_at)
    batch = await ground.worked(batch)
    assert batch.status is Status.EXPIRED
    assert [each["custom_id"] for each in await ground.entries(batch.output_file_id)] == ["c1", "c3"]
    (error,) = await ground.entries(batch.error_file_id)
    assert (error["custom_id"], error["response"], error["error"]["code"]) == ("c2", None, "batch_expired")


async def test_a_process_that_ends_leaves_its_batch_to_the_next_at_once(any_database: Database) -> None:
    hanging = True

    def reply(body: Mapping[str, Any], tries: int) -> Answered | None:
        return None if hanging and body["prompt"] != "p1" else good(body)

    ground = Ground(any_database, FakeAsks(reply))
    batch = await ground.create(lines(6))
    first = ground.process(lease=3600)

    async def one() -> bool:
        return (await ground.now(batch)).counts.completed == 1

    await reached(one)
    await end(first)
    assert ground.asks.running == 0
    hanging = False
    batch = await ground.worked(batch)
    assert batch.counts.completed == 6
    assert ground.asks.asked["p1"] == 1, "what is durable is not asked again"
    assert await ground.answered(batch) == custom_ids(6)
