"""Whatever goes wrong is told in OpenAI's shape."""

import logging
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.support.door import Door
from tests.gateway.support.gateway import served

JSON = {"content-type": "application/json"}


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    [(key, error)] = answer.json().items()
    assert key == "error"
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert "\n" not in error["message"]
    return dict(error)


async def test_an_unknown_route(door: Door) -> None:
    error = error_of(await door.http.get("/v2/nothing"), 404)
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_url")
    assert "GET /v2/nothing" in error["message"]


async def test_a_wrong_method(door: Door) -> None:
    answer = await door.http.get("/test/json")
    assert error_of(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"items": []}', "name", "Field required"),
        (b'{"name": 3}', "name", "got 3"),
        (b'{"name": "x", "items": [{"size": 1}, {"size": 11}]}', "items.1.size", "less than or equal to 10 (got 11)"),
        (b'{"name": "x", "items": 5}', "items", "valid list"),
        (b"[]", None, "The body: "),
        (b"", None, "The body: "),
        (b"null", None, "The body: "),
    ],
)
async def test_a_wrong_field_is_named_with_its_value(door: Door, body: bytes, param: str | None, words: str) -> None:
    error = error_of(await door.http.post("/test/json", content=body, headers=JSON), 400)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize("body", [b"{", b'{"name": }', b"\x00", b'{"name": "x"} trailing'])
async def test_invalid_json(door: Door, body: bytes) -> None:
    error = error_of(await door.http.post("/test/json", content=body, headers=JSON), 400)
    assert "no valid JSON" in error["message"]


@pytest.mark.parametrize("body", [b'{"name": "\xff"}', b"\xff", b'{"name": "caf\xe9"}'])
async def test_invalid_utf8(door: Door, body: bytes) -> None:
    error = error_of(await door.http.post("/test/json", content=body, headers=JSON), 400)
    assert "UTF-8" in error["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"[" * 5_000, "nested too deeply"), (b'{"name": ' + b"9" * 5_000 + b"}", "4300 digits")],
    ids=["nesting", "digits"],
)
async def test_json_that_python_cannot_read(door: Door, body: bytes, words: str) -> None:
    error = error_of(await door.http.post("/test/json", content=body, headers=JSON), 400)
    assert words in error["message"]


@pytest.mark.parametrize("kind", ["text/plain", ""])
async def test_a_body_of_another_type(door: Door, kind: str) -> None:
    answer = await door.http.post("/test/json", content=b'{"name": "x"}', headers={"content-type": kind})
    assert "Content-Type: application/json" in error_of(answer, 400)["message"]


async def test_what_nobody_expected_is_logged_and_not_told(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await door.http.get("/test/boom/acme")
    error = error_of(answer, 500)
    assert error["type"] == "server_error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in error["message"]
    [record] = caplog.records
    assert record.__dict__["request_id"] == answer.headers["x-request-id"]
    assert record.exc_info is not None


async def test_a_rate_limit_says_when(door: Door) -> None:
    answer = await door.http.get("/test/limited")
    assert error_of(answer, 429)["code"] == "rate_limit_exceeded"
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1250")
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
    assert "x-should-retry" not in answer.headers


async def test_a_spent_quota_is_not_to_be_retried(door: Door) -> None:
    answer = await door.http.get("/test/spent")
    assert error_of(answer, 429)["type"] == "insufficient_quota"
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


async def test_overload_says_when(door: Door) -> None:
    answer = await door.http.get("/test/full")
    error_of(answer, 503)
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("limited", openai.RateLimitError),
        ("nothing", openai.NotFoundError),
        ("full", openai.InternalServerError),
        ("boom/x", openai.InternalServerError),
    ],
)
async def test_openais_client_understands(door: Door, path: str, kind: type[openai.APIStatusError]) -> None:
    async with served(door.app) as url:
        client = openai.AsyncOpenAI(api_key="x", base_url=f"{url}/test", max_retries=0)
        with pytest.raises(kind) as raised:
            await client.get(f"/{path}", cast_to=object)
        await client.close()
    assert raised.value.body is not None
    assert raised.value.request_id is not None
