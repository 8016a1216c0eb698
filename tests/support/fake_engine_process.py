"""`python -m tests.support.fake_engine_process ID TOKEN`: an engine without a model as a process, to be killed or
stopped. It prints its address.

A submission gets its `max_tokens` tokens, each after as many microseconds as its seed says; at a second attempt all at
once. It says how busy it is ten times a second, as engines do.
"""

import asyncio
import sys

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import bundle, ids

LOAD_INTERVAL = 0.1  # seconds
AT_ONCE = 64  # tokens a delta, where there is no pause
WORD = ids("a")[0]


def reply(submit: pb.Submit) -> Reply:
    pause = 0.0 if submit.attempt else 1e-6 * submit.sampling.seed
    tokens = [WORD] * submit.sampling.max_tokens
    return Reply(tokens, pause=pause, together=1 if pause else AT_ONCE)


async def serve(engine_id: str, token: str) -> None:
    engine = FakeEngine(
        bundle(), replier=reply, token=token, engine_id=engine_id, max_model_len=1 << 20, max_num_seqs=1024
    )
    await engine.start()
    print(engine.address, flush=True)
    while True:
        await asyncio.sleep(LOAD_INTERVAL)
        engine.stall(False)  # which says its load


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
