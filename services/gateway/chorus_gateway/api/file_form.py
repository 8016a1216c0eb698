"""A file's upload: its parts, in any order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from chorus_gateway.api.multipart import Event, PartBegin, PartData, PartEnd
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.files import File, Purpose, Upload

ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
FIELDS = ("purpose", ANCHOR, SECONDS)
MAX_FIELD_BYTES = 1024
MAX_FILENAME = 255  # characters
SHORTEST, LONGEST = 3600, 30 * 24 * 3600  # seconds that a file is kept


@dataclass(frozen=True, slots=True)
class FileForm:
    filename: str
    seconds: int  # that it is kept


async def receive(events: AsyncIterator[Event], upload: Upload) -> File:
    """InvalidRequest when a part is missing, unknown, repeated or wrong."""
    fields: dict[str, str] = {}
    filename: str | None = None
    async for event in events:
        assert isinstance(event, PartBegin)
        if event.name in fields or (event.name == "file" and filename is not None):
            raise InvalidRequest(f"The part '{event.name}' is there twice; send it once.", param=event.name)
        if event.name == "file":
            filename = _filename(event.filename)
            async for data in _data(events):
                await upload.write(data)
        elif event.name in FIELDS:
            fields[event.name] = await _text(events, event.name)
        else:
            name = event.name[:64]
            raise InvalidRequest(f"The part '{name}' is unknown; send 'file' and 'purpose'.", param=name)
    form = _checked(fields, filename)
    return await upload.finish(form.filename, Purpose.BATCH, form.seconds)


def _checked(fields: dict[str, str], filename: str | None) -> FileForm:
    if filename is None:
        raise InvalidRequest("The part 'file' is missing; send the file's bytes in it.", param="file")
    purpose = fields.get("purpose")
    if purpose is None:
        raise InvalidRequest("The field 'purpose' is missing; it must be 'batch'.", param="purpose")
    if purpose != Purpose.BATCH:
        raise InvalidRequest(
            f"purpose: '{purpose[:64]}' is not supported by this server, only 'batch'.", param="purpose"
        )
    return FileForm(filename, _seconds(fields))


def _seconds(fields: dict[str, str]) -> int:
    if ANCHOR not in fields and SECONDS not in fields:
        return LONGEST
    if fields.get(ANCHOR) != "created_at":
        raise InvalidRequest(f"{ANCHOR}: must be 'created_at'.", param=ANCHOR)
    text = fields.get(SECONDS, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and SHORTEST <= int(text) <= LONGEST):
        raise InvalidRequest(
            f"{SECONDS}: '{text[:20]}' is not a whole number from {SHORTEST} (an hour) to {LONGEST} (30 days).",
            param=SECONDS,
        )
    return int(text)


def _filename(text: str) -> str:
    """Shown to the tenant alone, and never a path of ours."""
    if len(text) > MAX_FILENAME:
        raise InvalidRequest(f"file: its name may have at most {MAX_FILENAME} characters.", param="file")
    return text.replace("\0", "") or "upload"  # PostgreSQL has no text with zero bytes


async def _data(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if isinstance(event, PartEnd):
            return
        assert isinstance(event, PartData)
        yield event.data


async def _text(events: AsyncIterator[Event], field: str) -> str:
    value = b""
    async for data in _data(events):
        value += data
        if len(value) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"{field}: longer than {MAX_FIELD_BYTES} bytes; shorten it.", param=field)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{field}: not valid UTF-8.", param=field) from error
