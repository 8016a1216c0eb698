"""Answers of many megabytes are written in pieces: a transaction's time does not suffice for one."""

import json
import time

import pytest
from sqlalchemy import select

from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.lines import Line
from chorus_gateway.batches.results import Result, Swept
from chorus_gateway.batches.shapes import answered
from chorus_gateway.batches.values import Status
from chorus_gateway.db import Database, file_chunks, files
from chorus_gateway.files import Sweeper
from chorus_gateway.files.upload import CHUNK
from tests.gateway.support.batches import TENANT, FakeAsks, Ground, age_file, custom_ids, lines

SIZE = 3 * CHUNK


def large() -> FakeAsks:
    """Of every third line."""

    def reply(body: object, tries: int) -> Answered:
        assert isinstance(body, dict)
        size = 0 if int(body["prompt"][1:]) % 3 else SIZE
        return Answered("req_1", 200, {}, json.dumps({"text": body["prompt"] + size * "x"}).encode())

    return FakeAsks(reply)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"data":[],"usage":{"prompt_tokens":7}}', 7),
        (b'{"usage": {"input_tokens": 7}, "data": []}', 7),
        (b'{"usage":{"prompt_tokens":7},"schema":{"usage":{"prompt_tokens":1}}}', 7),
        (b'{"usage":{"prompt_tokens":7},"text":"\\"usage\\":{}}"}', 7),
        (b'{"schema":{"usage":{"prompt_tokens":1}}}', 0),
        (b'{"usage":null}', 0),
        (b'{"data":[]}', 0),
        (b'{"data":[],\n"usage":{"prompt_tokens":7}}\n', 7),
    ],
)
def test_usage_is_the_answers_own(body: bytes, tokens: int) -> None:
    result = answered(Line(1, "a", {}), Answered("req_1", 200, {}, body))
    assert result.usage.prompt_tokens == tokens
    assert json.loads(result.data)["response"]["body"] == json.loads(body)


async def most_in_a_row(database: Database) -> int:
    async with database.session() as session:
        return max(map(len, await session.scalars(select(file_chunks.c.data))))


async def test_large_answers_are_in_the_output_in_their_place(any_database: Database) -> None:
    ground = Ground(any_database, large())
    batch, stores = await ground.create(lines(7)), ground.stores()
    (lease,) = await stores.leases.claim(1)
    assert await ground.run(lease, stores).to_its_end()
    batch = await ground.now(batch)
    assert (batch.status, batch.counts.completed) == (Status.COMPLETED, 7)
    entries = await ground.entries(batch.output_file_id)
    assert [each["custom_id"] for each in entries] == custom_ids(7)
    sizes = [len(each["response"]["body"]["text"]) - 2 for each in entries]
    assert sizes == [0, 0, SIZE, 0, 0, SIZE, 0]
    assert await most_in_a_row(any_database) == CHUNK
    assert await Sweeper(any_database).sweep() == 2, "what was put aside, once the output has it"
    async with any_database.session() as session:
        assert set(await session.scalars(select(files.c.state))) == {"ready"}


async def test_what_is_put_aside_is_kept_and_seen_by_nobody(database: Database) -> None:
    ground = Ground(database)
    await ground.create(lines(2))
    stores = ground.stores()
    (lease,) = await stores.leases.claim(1)
    kept, left = [
        await stores.results.put_aside(TENANT, Result(number, True, SIZE * b"x" + b"\n")) for number in (1, 2)
    ]
    assert await stores.results.add(lease, [kept], until=time.time() + 60) == (1, 0)
    for result in (kept, left):
        await age_file(database, result.data.decode(), touched_at=time.time() - 3600)
    assert await Sweeper(database).sweep() == 1
    with pytest.raises(Swept):
        await stores.results.add(lease, [left], until=time.time() + 60)
    assert await stores.results.answered(lease.batch_id) == {1}
    assert b"".join([piece async for piece in stores.results.read(lease.batch_id, ok=True)]) == SIZE * b"x" + b"\n"
    assert len((await ground.files.page(TENANT, purpose=None, after=None, limit=9, newest=True)).files) == 1
