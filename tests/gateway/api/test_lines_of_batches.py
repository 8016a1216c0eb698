"""Lines of batches, through the same routes and the same pipeline as clients' requests, without a connection."""

import asyncio
import json
from typing import Any

import pytest

from chorus_gateway.api.chat import chat_router
from chorus_gateway.api.completions import completions_router
from chorus_gateway.api.embeddings import embeddings_router
from chorus_gateway.api.line_app import create_line_app
from chorus_gateway.api.responses import responses_router
from chorus_gateway.batches import Asker
from chorus_gateway.batches.keys import SCHEME
from chorus_gateway.values import Band
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, eventually

KEY_ID = "abcdefghijkl"
CHAT = "/v1/chat/completions"


@pytest.fixture
def asker(gateway: Gateway) -> Asker:
    gateway.keys.principals[f"{SCHEME}{KEY_ID}"] = gateway.keys.principals[KEY]
    makers = (chat_router, completions_router, responses_router, embeddings_router)
    return Asker(create_line_app([make(gateway.pipeline) for make in makers]))


@pytest.mark.parametrize(
    ("path", "fields", "kind"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "hello"}]}, "chat.completion"),
        ("/v1/completions", {"prompt": "hello", "service_tier": "priority"}, "text_completion"),
        ("/v1/responses", {"input": "hello"}, "response"),
        ("/v1/embeddings", {"input": "hello"}, "list"),
    ],
)
async def test_a_line_is_answered_as_a_client_would_be_at_flex_priority(
    asker: Asker, engine: FakeEngine, path: str, fields: dict[str, Any], kind: str
) -> None:
    answer = await asker.ask(path, {"model": "chorus-demo", **fields}, KEY_ID)
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["object"] == kind
    assert answer.request_id.startswith("req_")
    (submit,) = engine.submits
    assert submit.band == pb.Band.Value(f"BAND_{Band.FLEX.name}")
    assert submit.request_id.startswith(answer.request_id)


async def test_a_line_that_is_wrong_has_the_same_error(asker: Asker) -> None:
    messages = [{"role": "user", "content": "hello"}]
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"model": "chorus-demo", "messages": messages, "temperature": 9}, 400, "temperature"),
        ({"model": "chorus-demo"}, 400, "messages"),
        ({"model": "chorus-demo@nobodys", "messages": messages}, 404, "model"),
        ({"model": "chorus-demo", "messages": messages, "temperature": float("nan")}, 400, "temperature"),
    ]
    for body, status, param in cases:
        answer = await asker.ask(CHAT, body, KEY_ID)
        assert (answer.status, json.loads(answer.body)["error"]["param"]) == (status, param)
    nobody = await asker.ask(CHAT, {"model": "chorus-demo", "messages": messages}, "nobody")
    assert nobody.status == 401


async def test_a_line_that_is_cancelled_ends_in_its_engine(asker: Asker, gateway: Gateway, engine: FakeEngine) -> None:
    engine.replier = lambda submit: Reply([], hang=True)
    task = asyncio.create_task(asker.ask("/v1/completions", {"model": "chorus-demo", "prompt": "hello"}, KEY_ID))
    await eventually(lambda: engine.running == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await eventually(lambda: len(engine.cancels) == 1)
