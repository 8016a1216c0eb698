"""HTTP: attempts, and answers that are errors."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from chorus_client.errors import ChorusError, UnexpectedAnswer, Unreachable, refusal

AGAIN = (429, 503)  # the gateway has done nothing yet
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds, where an answer names no time
PATIENCE = 60.0  # seconds; an answer that asks for more is handed on


def path(*parts: str | int) -> str:
    """Of the admin API, each part written so that it stays one."""
    return "/admin/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def connect(
    base_url: str, key: str, *, timeout: float, retries: int, transport: httpx.BaseTransport | None = None
) -> "Transport":
    """`base_url` may end with /v1, as OpenAI's clients want it. `timeout`: seconds without a byte."""
    return Transport(
        httpx.Client(
            base_url=base_url.rstrip("/").removesuffix("/v1").rstrip("/"),
            headers={"authorization": f"Bearer {key}", "accept": "application/json"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            transport=transport,
        ),
        retries=retries,
    )


class Transport:
    """Tries again, `retries` times, what was refused for the moment or found no one listening."""

    def __init__(self, http: httpx.Client, *, retries: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._retries = retries
        self._sleep = sleep

    @property
    def base_url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, route: str, **options: Any) -> Any:
        """The answer's JSON; None of an empty one. `options` are httpx's. Raises ChorusError."""
        return self.answered(method, route, **options)[1]

    def answered(self, method: str, route: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON."""
        with self.stream(method, route, **options) as response:
            _read(response)
            return response.status_code, _json(response) if response.content else None

    @contextmanager
    def stream(self, method: str, route: str, **options: Any) -> Iterator[httpx.Response]:
        """A success whose body is still to be read."""
        response = self._send(method, route, options)
        try:
            yield response
        finally:
            response.close()

    def _send(self, method: str, route: str, options: Mapping[str, Any]) -> httpx.Response:
        for attempt in range(self._retries + 1):
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            last = attempt == self._retries
            try:
                request = self._http.build_request(method, route, **options)
                response = self._http.send(request, stream=True)
            except httpx.ConnectError as error:
                if last:
                    raise Unreachable(f"Nothing answers at {self.base_url}: {why(error)}.") from error
            except httpx.HTTPError as error:
                raise Unreachable(f"{method} {route} had no answer: {why(error)}.") from error
            else:
                if response.is_success:
                    return response
                pause = _asked_for(response, pause)
                if last or response.status_code not in AGAIN or not 0 <= pause <= PATIENCE:
                    raise _refusal(response)
                response.close()
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def why(error: httpx.HTTPError) -> str:
    """In words."""
    return "nothing came in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__


def _asked_for(response: httpx.Response, otherwise: float) -> float:
    """Seconds until another attempt; below 0 when none is of use."""
    if response.headers.get("x-should-retry") == "false":
        return -1.0
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(response.headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return otherwise


def _refusal(response: httpx.Response) -> ChorusError:
    try:
        _read(response)
        body = response.json()
    except ValueError:
        body = None
    finally:
        response.close()
    return refusal(response.status_code, body, response.headers.get("x-request-id"))


def _read(response: httpx.Response) -> None:
    try:
        response.read()
    except httpx.HTTPError as error:
        raise Unreachable(f"The answer of {response.request.url.path} broke off: {why(error)}.") from error


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise UnexpectedAnswer(f"{response.request.url.path} answered no JSON; is this address a gateway's?") from None
