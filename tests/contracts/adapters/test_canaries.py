"""Aliases that point at two generations."""

from dataclasses import replace

import pytest
from grpc import StatusCode

from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal


@pytest.fixture
async def stocked(client: Client) -> Client:
    for seed in (1, 2):
        await client.publish(make_upload(seed=seed))
    return client


async def test_a_canary_is_set_promoted_and_rolled_back(stocked: Client) -> None:
    main = await stocked.set_alias("prod", 1, canary=2, percent=10)
    assert (main.generation, list(main.aliases)) == (1, ["prod"])
    found = await stocked.resolution(version="prod")
    assert (found.adapter.generation, found.canary.generation, found.canary_percent) == (1, 2, 10)
    assert dict(found.canary.canary_of) == {"prod": 10}
    assert not (await stocked.resolution(version="2")).HasField("canary")
    assert (await stocked.set_alias("prod", 2)).generation == 2
    assert not (await stocked.resolution(version="prod")).HasField("canary")
    assert (await stocked.rollback("prod")).generation == 1
    assert await stocked.changes("prod") == [(1, 2, 10), (2, 0, 0), (1, 2, 10)]
    await stocked.set_alias("prod", 0)
    assert await stocked.changes("prod") == [(0, 0, 0), (1, 2, 10), (2, 0, 0), (1, 2, 10)]


@pytest.mark.parametrize(
    ("canary", "percent", "words"),
    [
        (2, 0, "canary_percent: 0 with canary 2; a canary has 1 to 99, none has 0"),
        (0, 10, "canary_percent: 10 with canary 0"),
        (2, 100, "canary_percent: 100 with canary 2"),
        (1, 10, "canary: 1 is the alias's generation too"),
    ],
)
async def test_a_wrong_share_is_refused(stocked: Client, canary: int, percent: int, words: str) -> None:
    code, details = await refusal(stocked.set_alias("prod", 1, canary=canary, percent=percent))
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details


async def test_what_cannot_be_rolled_back_is_said(stocked: Client) -> None:
    await stocked.set_alias("prod", 1)
    code, details = await refusal(stocked.rollback("prod"))
    assert (code, "pointed at nothing else before" in details) == (StatusCode.FAILED_PRECONDITION, True)
    assert (await refusal(stocked.rollback("none")))[0] == StatusCode.NOT_FOUND
    assert (await refusal(stocked.changes("none")))[0] == StatusCode.NOT_FOUND
    stranger = replace(stocked, tenant="stranger")
    assert await refusal(stranger.rollback("prod")) == (StatusCode.NOT_FOUND, "adapter 'tone' does not exist")
    assert (await refusal(stranger.changes("prod")))[0] == StatusCode.NOT_FOUND
