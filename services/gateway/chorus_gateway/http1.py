"""uvicorn's HTTP/1.1, with an end to the head of a request: nobody has shown a key before it is read."""

import asyncio
import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chorus_gateway.api.errors import error_body
from chorus_gateway.errors import InvalidRequest

MAX_HEAD_BYTES = 64 << 10  # of request line and headers
HEAD_SECONDS = 30.0  # from a connection's start, or a request's first byte, to the end of its headers
STUCK_SECONDS = 30.0  # in which a client takes nothing of what waits for it, until it counts as gone


class TooLargeHead(Exception):
    """The request line and headers passed MAX_HEAD_BYTES."""


class Joined:
    """What an answer is written to: a transport that is given the head together with what follows in the same turn of
    the loop. Each write is a system call, and wakes the client."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._begun = False

    def write(self, data: bytes) -> None:
        if self._begun:
            if self._head:
                data, self._head = self._head + data, b""
            self._transport.write(data)
        elif data.startswith(b"HTTP/1.1 100 "):  # the client waits for it
            self._transport.write(data)
        else:
            self._begun, self._head = True, data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class Client:
    """The client as a request's way may see it past ASGI: the shortest way to its socket for the body of a streamed
    answer, and its end. ASGI's `send` passes every piece through all that surrounds the application, which looks at the
    first message alone; its `receive` wants a task that waits."""

    NAME = "chorus.client"  # in the scope's extensions

    __slots__ = ("_cycle", "_gone")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        # A cycle holds its scope, which holds this: without the collector they would outlive their request.
        self._cycle = weakref.ref(cycle)
        self._gone: Callable[[], None] | None = None

    @property
    def free(self) -> bool:
        """Whether the head is sent, and the client is there and reads."""
        cycle = self._cycle()
        if cycle is None:
            return False
        gone = cycle.flow.write_paused or cycle.disconnected or cycle.response_complete
        return not gone and cycle.chunked_encoding is True

    def write(self, data: bytes) -> None:
        """Only while it is `free`; not empty."""
        cycle = self._cycle()
        assert cycle is not None
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    @contextmanager
    def watched(self, gone: Callable[[], None]) -> Iterator[None]:
        """`gone` is called when the client goes during the block, or has gone before."""
        cycle = self._cycle()
        self._gone = gone
        if cycle is None or cycle.disconnected:
            gone()
        try:
            yield
        finally:
            self._gone = None

    def lost(self) -> None:
        if self._gone is not None:
            self._gone()


class Http1(HttpToolsProtocol):
    """What the parser refuses is answered in OpenAI's shape."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._received = 0  # bytes while in a head, less those that came together with its first
        self._kept = 0  # bytes of the head as parsed
        self._timer: asyncio.TimerHandle | None = None
        self._client: Client | None = None  # of the last request
        self._stuck: asyncio.TimerHandle | None = None  # while more waits than the transport likes to hold

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unstick()
        super().connection_lost(exc)
        if self._client is not None:
            self._client.lost()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._received += len(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            if self._received > MAX_HEAD_BYTES:
                self._refuse_head()
            else:
                self._start_timer()  # the rest of the head is still to come

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        self._unstick()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._received, self._kept = True, 0, 0

    def on_url(self, url: bytes) -> None:
        self._keep(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._keep(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.transport = Joined(self.transport, self.loop)  # type: ignore[assignment]  # all that it uses
            self._client = Client(self.cycle)
            extensions: dict[str, Any] = {Client.NAME: self._client}
            self.scope["extensions"] = extensions

    def send_400_response(self, msg: str) -> None:
        if self._kept > MAX_HEAD_BYTES:
            self._refuse_head()
        else:
            self._refuse("400 Bad Request", "The request is no valid HTTP/1.1; send it with an HTTP client.")

    def _look_again(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stuck = self.loop.call_later(STUCK_SECONDS, self._cut_off, left)

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _cut_off(self, left: int) -> None:
        """Whoever writes to the client waits for room; from here on it has gone."""
        if self.transport.get_write_buffer_size() < left:
            self._look_again()
        else:
            self.transport.abort()

    def _keep(self, count: int) -> None:
        self._kept += count
        if self._kept > MAX_HEAD_BYTES:
            raise TooLargeHead

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        self._refuse("408 Request Timeout", f"The headers took longer than {HEAD_SECONDS:g} s; send them at once.")

    def _refuse_head(self) -> None:
        self._refuse(
            "431 Request Header Fields Too Large",
            f"The request line and headers have more than the {MAX_HEAD_BYTES} bytes allowed; send fewer or shorter.",
        )

    def _refuse(self, status: str, message: str) -> None:
        self._stop_timer()
        body = json.dumps(error_body(InvalidRequest(message))).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
