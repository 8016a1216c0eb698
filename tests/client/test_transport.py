"""Attempts, errors and downloads, with answers that a test makes up."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chorus_client import Damaged, QuotaExceeded, RateLimited, ServerFault, Unavailable, UnexpectedAnswer, Unreachable
from chorus_client.adapters import Adapters
from chorus_client.tenants import Tenants
from chorus_client.transport import Transport

OK = httpx.Response(200, json={"object": "list", "data": []})


def error(status: int, code: str | None = None, **headers: str) -> httpx.Response:
    body = {"error": {"message": "It cannot be.", "type": "x", "param": None, "code": code}}
    return httpx.Response(status, json=body, headers=headers)


class Server:
    """Answers in turn, and notes what it was asked and how long its client slept."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.slept: list[float] = []

    def transport(self, retries: int = 2) -> Transport:
        http = httpx.Client(transport=httpx.MockTransport(self._answer), base_url="http://gateway")
        return Transport(http, retries=retries, sleep=self.slept.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.read())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ({}, [0.5, 1.0]),
        ({"retry-after": "3"}, [3.0, 3.0]),
        ({"retry-after": "3", "retry-after-ms": "250"}, [0.25, 0.25]),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, [0.5, 1.0]),
    ],
)
def test_it_is_tried_again_when_the_gateway_says(headers: dict[str, str], pauses: list[float]) -> None:
    server = Server(error(503, **headers), error(429, **headers), OK)
    assert Tenants(server.transport()).list() == ()
    assert server.slept == pauses


def test_nobody_listening_is_tried_again() -> None:
    server = Server(httpx.ConnectError("refused"), OK)
    assert Tenants(server.transport()).list() == ()
    server = Server(*[httpx.ConnectError("refused")] * 3)
    with pytest.raises(Unreachable, match="Nothing answers at http://gateway"):
        Tenants(server.transport()).list()
    assert server.slept == [0.5, 1.0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(429, "insufficient_quota", **{"x-should-retry": "false"}), QuotaExceeded),
        (error(503, **{"retry-after": "61"}), Unavailable),
        (error(504), Unavailable),
        (error(500), ServerFault),
        (httpx.Response(502, text="<html>Bad Gateway"), UnexpectedAnswer),
        (httpx.Response(404, json={"detail": "Not Found"}), UnexpectedAnswer),
        (httpx.Response(200, text="<html>Welcome"), UnexpectedAnswer),
        (httpx.Response(200, json={"object": "list"}), UnexpectedAnswer),
        (httpx.Response(200, json={"object": "list", "data": [{"id": "acme"}]}), UnexpectedAnswer),
        (httpx.ReadTimeout("slow"), Unreachable),
    ],
)
def test_what_another_attempt_would_not_change_is_told_at_once(
    answer: httpx.Response | Exception, kind: type[Exception]
) -> None:
    server = Server(answer)
    with pytest.raises(kind):
        Tenants(server.transport()).list()
    assert (len(server.requests), server.slept) == (1, [])


def test_the_last_refusal_is_told() -> None:
    server = Server(error(429, "rate_limit_exceeded", **{"x-request-id": "r1"}), error(429, **{"x-request-id": "r2"}))
    with pytest.raises(RateLimited) as refused:
        Tenants(server.transport(retries=1)).list()
    assert (refused.value.request_id, refused.value.status) == ("r2", 429)
    assert str(refused.value) == "It cannot be. (status 429, request r2)"


def test_an_upload_begins_anew(tmp_path: Path) -> None:
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / file).write_bytes(file.encode() * 3)
    server = Server(error(503), error(409))
    told: list[tuple[int, int]] = []
    with pytest.raises(Exception, match="It cannot be"):
        Adapters(server.transport()).upload("a", "b", "c", tmp_path, progress=lambda *now: told.append(now))
    first, second = (body.replace(body.split(b"\r\n")[0], b"boundary") for body in server.requests)
    assert first == second
    assert b"adapter_model.safetensors" * 3 in second
    total = told[-1][1]
    assert [now for now, _ in told].count(total) >= 2


CONFIG, WEIGHTS = b"{}", bytes(range(256)) * 5000
DIGEST = hashlib.sha256(hashlib.sha256(CONFIG).digest() + hashlib.sha256(WEIGHTS).digest()).hexdigest()
ADAPTER: dict[str, Any] = {
    "tenant": "a",
    "name": "b",
    "model": "c",
    "generation": 1,
    "digest": DIGEST,
    "rank": 4,
    "modules": [],
    "bytes": len(CONFIG) + len(WEIGHTS),
    "aliases": [],
    "created_at": 1,
    "visibility": "private",
    "shared_with": [],
    "canary_of": {},
    "state": "published",
    "reason": "",
    "of_a_later_version": 1,
}


def cut() -> Iterator[bytes]:
    yield WEIGHTS[:1000]
    raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda: httpx.Response(200, content=cut()), "ended early"),
        (lambda: httpx.Response(200, content=WEIGHTS[:-1] + b"x"), "nothing was written"),
    ],
)
def test_a_damaged_download_leaves_what_was_there(
    tmp_path: Path, weights: Callable[[], httpx.Response], words: str
) -> None:
    server = Server(httpx.Response(200, json=ADAPTER), httpx.Response(200, content=CONFIG), weights())
    (tmp_path / "adapter_config.json").write_bytes(b"old")
    with pytest.raises(Damaged, match=words):
        Adapters(server.transport()).download("a", "b", 1, tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("adapter_config.json", b"old")]


def test_a_good_download_takes_its_place(tmp_path: Path) -> None:
    answers = [httpx.Response(200, content=content) for content in (CONFIG, WEIGHTS)]
    server = Server(httpx.Response(200, json=ADAPTER), *answers)
    (tmp_path / "adapter_config.json").write_bytes(b"old")
    back = Adapters(server.transport()).download("a", "b", 1, tmp_path)
    assert (back.config.read_bytes(), back.weights.read_bytes()) == (CONFIG, WEIGHTS)
