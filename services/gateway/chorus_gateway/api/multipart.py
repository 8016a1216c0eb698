"""multipart/form-data as it arrives, one event at a time and nothing kept."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from chorus_gateway.errors import InvalidRequest

MAX_PART_HEADERS = 8


@dataclass(frozen=True, slots=True)
class PartBegin:
    name: str
    is_file: bool
    filename: str = ""  # as the client names it


@dataclass(frozen=True, slots=True)
class PartData:
    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    pass


Event = PartBegin | PartData | PartEnd


def boundary_of(content_type: str) -> bytes:
    """InvalidRequest when the body is not multipart/form-data."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest(
            f"The content type must be multipart/form-data with a boundary and is '{content_type}'; "
            "send fields and files as `curl -F` does."
        )
    return boundary


async def read_parts(body: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[Event]:
    """InvalidRequest when the body is malformed, or ends before its closing boundary."""
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.part_begin,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_headers_finished": collector.headers_finished,
                "on_part_data": collector.part_data,
                "on_part_end": collector.part_end,
                "on_end": collector.end,
            },
            max_header_count=MAX_PART_HEADERS,
        )
        async for chunk in body:
            parser.write(chunk)
            for event in collector.take():
                yield event
    except FormParserError as error:
        raise InvalidRequest(f"The multipart body is malformed: {error}; send it as `curl -F` does.") from error
    if not collector.ended:
        raise InvalidRequest("The multipart body ends before its closing boundary: it was cut off; send it again.")


class _Collector:
    """The parser's callbacks, as a list of events."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Event] = []
        self._field = b""
        self._value = b""
        self._disposition = b""

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def part_begin(self) -> None:
        self._disposition = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name, filename = (options.get(option, b"").decode(errors="replace") for option in (b"name", b"filename"))
        self._events.append(PartBegin(name, b"filename" in options, filename))

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(data[start:end]))

    def part_end(self) -> None:
        self._events.append(PartEnd())

    def end(self) -> None:
        self.ended = True
