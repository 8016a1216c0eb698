"""The fake engine that the gateway is tested with keeps the contract that real engines keep: the same cases."""

import random
from collections.abc import AsyncIterator

import pytest

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.contracts.engine.support.gateway import Gateway, open_gateway
from tests.contracts.engine.support.process import TOKEN
from tests.contracts.engine.test_calls import (
    test_another_tokenizer_is_not_found,
    test_calls_without_the_token_are_refused,
)
from tests.contracts.engine.test_session import *  # noqa: F403 - every case of the session, those to come too
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.tokenizers import bundle

__all__ = ["test_another_tokenizer_is_not_found", "test_calls_without_the_token_are_refused"]

VOCABULARY = 211


def endless(submit: pb.Submit) -> Reply:
    """Tokens that depend on the prompt and the seed alone, a millisecond each."""
    seed = submit.sampling.seed if submit.sampling.temperature else 0
    draw = random.Random(f"{seed} {list(submit.prompt_token_ids)}")
    return Reply([draw.randrange(3, VOCABULARY) for _ in range(submit.sampling.max_tokens)], pause=0.001)


@pytest.fixture
async def engine_address() -> AsyncIterator[str]:
    engine = FakeEngine(
        bundle(), replier=endless, token=TOKEN, vocab_size=VOCABULARY, max_model_len=1024, max_num_seqs=4
    )
    await engine.start()
    yield engine.address
    await engine.stop()


@pytest.fixture
async def gateway(engine_address: str) -> AsyncIterator[Gateway]:
    async with open_gateway(engine_address) as gateway:
        yield gateway
