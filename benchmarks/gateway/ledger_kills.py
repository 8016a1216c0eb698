"""Kills gateways at random moments under a mixed load, again and again, and reads the ledger.

usage: python -m benchmarks.gateway.ledger_kills [--kills 20] [--seed N]

Two gateway processes share a database and a journal; two engines emit tokens over real gRPC, and break their streams
now and then. Every request that reached an engine must have exactly one row. What it computed must be the engine's
number, and what was delivered no more than was made: for a killed gateway's request just that.
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from chorus_gateway.values import Price
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.killable import Ground, KillableGateway, until
from tests.gateway.support.tokenizers import END, bundle, ids

SHAPES: tuple[dict[str, Any], ...] = (
    {"prompt": "hello", "stream": False, "max_tokens": 40},
    {"prompt": "hello world", "n": 2, "max_tokens": 30},
    {"prompt": ["one", "two"], "max_tokens": 10},
    {"prompt": "stops", "stop": "world", "max_tokens": 200},
    {"prompt": "long", "max_tokens": 300},
)
PLACES = 8  # of each engine
CLIENTS = 30
SECONDS = (0.2, 2.0)  # between two kills


def reply(submit: pb.Submit) -> Reply:
    words = "hello " * random.randint(1, 20) + "world " + "fox " * random.randint(0, 10)
    return Reply([*ids(words), END], pause=random.choice((0.0, 0.02, 0.15)), cached=1, together=random.choice((1, 3)))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    random.seed(asked.seed)
    print(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory() as folder:
        engines = [
            await FakeEngine(bundle(), replier=reply, engine_id=f"engine-{number}", max_num_seqs=PLACES).start()
            for number in range(2)
        ]
        ground = await Ground.made(Path(folder), engines)
        await ground.price(Price(200_000, 20_000, 600_000))
        try:
            await kills(ground, asked.kills)
            print(json.dumps(await result(ground), indent=2))
        finally:
            await ground.close()
            for engine in engines:
                await engine.stop()


async def kills(ground: Ground, count: int) -> None:
    gateways = [await ground.start(), await ground.start()]
    for number in range(count):
        for gateway in gateways:
            busy = sum(not client.done() for client in gateway.clients)
            for _ in range(max(0, CLIENTS // 2 - busy)):
                ground.ask(gateway, 1, **random.choice(SHAPES))
        await until(partial(more, ground, submitted(ground) + CLIENTS // 3))
        await asyncio.sleep(random.uniform(*SECONDS))
        for client in random.sample(gateways[0].clients, 3):
            client.cancel()  # it vanishes
        if number % 5 == 4:
            await break_streams(random.choice(ground.engines))
        victim = random.randrange(2)
        gateways[victim].kill()
        gateways[victim] = await ground.start()
    await ended(ground, gateways)


def submitted(ground: Ground) -> int:
    return sum(len(engine.submits) for engine in ground.engines)


async def more(ground: Ground, count: int) -> bool:
    return submitted(ground) >= count


async def break_streams(engine: FakeEngine) -> None:
    """Its port is back at once; what it keeps it has in memory."""
    await engine.stop()
    await engine.start()


async def ended(ground: Ground, gateways: list[KillableGateway]) -> None:
    await asyncio.gather(*(client for gateway in gateways for client in gateway.clients), return_exceptions=True)

    async def all_told() -> bool:
        unwritten = sum([await gateway.gauge("usage_unwritten") for gateway in gateways])
        kept = sum(engine.usage.unacknowledged for engine in ground.engines)
        return not unwritten and not kept and len(ground.journals()) == len(gateways)

    await until(all_told, 180)


async def result(ground: Ground) -> dict[str, Any]:
    rows = await ground.rows()
    computed: Counter[str] = Counter()
    made: dict[str, dict[str, int]] = defaultdict(dict)
    for engine in ground.engines:
        for (job, _), usage in sorted(engine.usage.all.items()):
            request_id = job.rpartition("-")[0]
            computed[request_id] += usage.computed_tokens
            made[request_id][job] = usage.completion_tokens
    wrong = [name for name, row in rows.items() if row["computed"] != computed[name]]
    orphans = {name: row for name, row in rows.items() if row["outcome"] == "orphaned"}
    over = [name for name, row in rows.items() if row["completion"] > sum(made[name].values())]
    return {
        "rows": len(rows),
        "outcomes": Counter(row["outcome"] for row in rows.values()),
        "reached an engine": len(computed),
        "without a row": len(computed.keys() - rows.keys()),
        "computed differs": wrong[:5],
        "delivered more than was made": over[:5],
        "orphans billed otherwise": [
            name for name, row in orphans.items() if row["completion"] != sum(made[name].values())
        ][:5],
    }


if __name__ == "__main__":
    asyncio.run(main())
