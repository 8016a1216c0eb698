"""One line's request, through the same routes as a client's, without a connection."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import ASGIApp, Message

from chorus_gateway.batches.keys import SCHEME


@dataclass(frozen=True, slots=True)
class Answered:
    request_id: str
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # JSON


class Asks(Protocol):
    async def ask(self, path: str, body: Mapping[str, Any], key: str) -> Answered: ...


class Asker:
    """`app` has the routes, behind a pipeline whose authenticator is KeysOfBatches. A cancelled `ask` ends the request
    as a client does that goes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def ask(self, path: str, body: Mapping[str, Any], key: str) -> Answered:
        """At flex priority, whatever the body says."""
        request_id = f"req_{uuid.uuid4().hex}"
        content = json.dumps({**body, "service_tier": "flex"}).encode()
        del body  # parsed it takes many times as much, and the answer takes long
        exchange = _Exchange(content)
        await self._app(_scope(path, request_id, key, len(content)), exchange.receive, exchange.send)
        return Answered(request_id, exchange.status, exchange.headers, b"".join(exchange.parts))


def _scope(path: str, request_id: str, key: str, size: int) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"batch"),
            (b"authorization", f"{SCHEME}{key}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(size).encode()),
        ],
        "client": None,
        "server": None,
        "state": {"request_id": request_id},
    }


class _Exchange:
    """The status and the headers are there once the app has answered, which it always does."""

    status: int

    def __init__(self, content: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self._content: bytes | None = content

    async def receive(self) -> Message:
        if self._content is None:
            await asyncio.Future()  # nobody goes: the asker is cancelled instead
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
