"""HTTP to a stack, by the standard library: it also runs where nothing of ours is installed."""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """None when the body is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """The error's sentence, else the status."""
        found = self.json()
        error = found.get("error") if isinstance(found, dict) else None
        return str(error["message"]) if isinstance(error, dict) and "message" in error else f"HTTP {self.status}"


def ask(
    method: str,
    url: str,
    *,
    key: str = "",
    body: bytes | None = None,
    content_type: str = "application/json",
    timeout: float = 10.0,
) -> Answer:
    """An answer with any status; OSError when there is none. Proxies are not asked: the stack is on this machine."""
    headers = {"content-type": content_type} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


def multipart(fields: Mapping[str, str], files: Mapping[str, Path]) -> tuple[bytes, str]:
    """A form's body and its content type; fields first."""
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [
        _part(boundary, f'name="{name}"; filename="{path.name}"', path.read_bytes()) for name, path in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _part(boundary: str, disposition: str, content: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
