"""What engines and gateways write in Redis, as the placer reads it."""

import json
import logging
from typing import Any

import pytest
from redis.asyncio import Redis

from chorus_adapter_store.placement import keys
from chorus_adapter_store.placement.demand import Bucket, DemandWindow
from chorus_adapter_store.placement.view import View
from chorus_adapter_store.values import Tier
from tests.adapter_store.placement.announced import AnnouncedEngine, ask
from tests.adapter_store.placement.fleet_model import ModelEngine


async def test_an_engine_is_read_as_it_reports(redis: Redis) -> None:
    model = ModelEngine("a", gpu={"d1": 2}, host={"d2": 3}, pinned={"d1": Tier.GPU}, leased=frozenset({"d1"}))
    await AnnouncedEngine(redis, model, "base", term=7).announce()
    (engine,) = (await View(redis).engines()).engines
    report = model.report()
    assert (engine.engine_id, engine.address, engine.base_digest, engine.term) == ("a", "a:1", "base", 7)
    assert engine.held == report.held
    assert (engine.slots_free, engine.pool_bytes_free, engine.pin_bytes_free) == (3, 14, 6)
    assert (engine.host_bytes, engine.host_bytes_free, engine.host_pin_bytes_free) == (32, 32, 16)


async def test_an_engine_without_a_heartbeat_is_not_there(redis: Redis) -> None:
    await redis.zadd(keys.ENGINES, {"gone": 1})
    assert (await View(redis).engines()).engines == ()


async def test_an_older_engine_has_no_room_to_place_in(redis: Redis) -> None:
    fields: dict[Any, Any] = {
        "address": "a:1",
        "model": "demo",
        "model_digest": "base",
        "max_num_seqs": "8",
        "draining": "0",
    }
    await redis.zadd(keys.ENGINES, {"old": 1})
    await redis.hset(keys.engine("old"), mapping=fields)
    (engine,) = (await View(redis).engines()).engines
    assert not engine.placeable


async def test_what_an_engine_serves_and_who_ordered_it_to_drain_is_read(redis: Redis) -> None:
    for name in "abc":
        await AnnouncedEngine(redis, ModelEngine(name), "base").announce()
    await redis.hset(keys.engine("a"), "outer_modules", "lm_head embed_tokens")
    await redis.hset(keys.engine("b"), "outer_modules", "")
    await redis.hset(keys.DRAINS, mapping={"a": "1", "b": "0", "gone": "1"})
    a, b, c = (await View(redis).engines()).engines
    assert [each.drained for each in (a, b, c)] == [True, False, False]
    assert [each.placeable for each in (a, b, c)] == [False, True, True]
    assert a.outer_modules == frozenset({"lm_head", "embed_tokens"})
    assert b.outer_modules == frozenset()
    assert c.outer_modules is None, "an older engine does not say"


async def test_what_is_strange_is_left_out_with_one_line(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await AnnouncedEngine(redis, ModelEngine("a", host={"d1": 1}), "base").announce()
    await AnnouncedEngine(redis, ModelEngine("b"), "base").announce()
    await redis.hset(keys.engine("b"), "slots", "many")
    strange = ("[]", "no json", '{"tier": "moon", "state": "ready"}', '{"tier": "gpu", "state": "odd"}', "[" * 5000)
    for number, text in enumerate(strange):
        await redis.hset(keys.residency("a"), f"strange{number}", text)
    view = View(redis)
    for _ in range(3):
        (engine,) = (await view.engines()).engines
        assert list(engine.held) == ["d1"]
    assert len(caplog.records) == 1
    await redis.hset(keys.engine("b"), "slots", "1")
    await redis.hdel(keys.residency("a"), *(f"strange{number}" for number in range(len(strange))))
    assert len((await view.engines()).engines) == 2
    await redis.hset(keys.residency("a"), "strange", json.dumps({"tier": "gpu", "state": "ready", "bytes": -1}))
    await view.engines()
    assert len(caplog.records) == 2


async def test_demand_is_read_from_what_gateways_count(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    await ask(redis, "base", "d1", in_flight=4)
    view = View(redis)
    now = (await view.engines()).now
    key = keys.demand("base", int(now) // keys.BUCKET_SECONDS)
    await redis.hset(key, mapping={"a:d2": "many", "c:d2": "1", "a:": "1"})
    found = await view.demand({"base", "other"}, now)
    assert list(found["base"]) == ["d1"]
    assert found["base"]["d1"].in_flight >= 4
    assert found["other"] == {}
    assert len(caplog.records) == 1


def test_means_are_over_the_time_that_has_passed() -> None:
    window = DemandWindow()
    now = 1002.5  # half of bucket 200 has passed
    for number in window.wanted(now):
        window.put(number, Bucket({"d": 10}, {"d": 5_000}) if number <= 199 else Bucket({"d": 5}, {"d": 2_500}))
    demand = window.demand(now)["d"]
    assert (demand.in_flight, demand.arriving) == pytest.approx((1.0, 2.0))
    assert (demand.in_flight_long, demand.arriving_long) == pytest.approx((1.0, 2.0))


def test_closed_buckets_are_read_once() -> None:
    window = DemandWindow()
    for number in window.wanted(1000.0):
        window.put(number, Bucket())
    assert window.wanted(1004.9) == [199, 200]
    assert window.wanted(1005.0) == [200, 201]
    assert window.demand(1060.0 + 60) == {}
