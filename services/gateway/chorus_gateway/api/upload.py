"""An adapter's upload: which parts it has, in which order, and whom it is for."""

from collections.abc import AsyncIterator

from chorus_gateway.adapters import UploadHeader
from chorus_gateway.api.multipart import Event, PartBegin, PartData, PartEnd
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.models.names import NAME

FIELDS = ("tenant", "name", "model")
FILES = {"adapter_config": "adapter_config.json", "adapter_model": "adapter_model.safetensors"}
MAX_FIELD_BYTES = 1024
ORDER = f"send the fields {', '.join(FIELDS)} before the files {' and '.join(FILES)}"


class AdapterForm:
    """Reads the fields, then hands out the files' bytes as they come.

    The fields go first because the store is told whose bytes it gets before it gets any; nothing is kept here to wait
    for a field that comes after a file.
    """

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self._seen: set[str] = set()
        self._first_file = ""

    async def header(self) -> UploadHeader:
        """InvalidRequest when a field is missing, unknown, repeated or malformed."""
        fields: dict[str, str] = {}
        async for event in self._events:
            assert isinstance(event, PartBegin)
            part = self._begin(event)
            if part in FILES:
                self._first_file = part
                break
            fields[part] = await self._text(part)
        for field in FIELDS:
            if field not in fields:
                raise InvalidRequest(f"The field '{field}' is missing; {ORDER}.", param=field)
        for field in ("tenant", "name"):
            if not NAME.fullmatch(fields[field]):
                raise InvalidRequest(
                    f"{field}: '{fields[field]}' is not 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit.",
                    param=field,
                )
        return UploadHeader(**fields)

    async def chunks(self) -> AsyncIterator[tuple[str, bytes]]:
        """(file, data) after `header`. InvalidRequest at the end when a file is missing or empty."""
        part, filled = self._first_file, set[str]()
        async for event in self._events:
            if isinstance(event, PartBegin):
                part = self._begin(event)
                if part in FIELDS:
                    raise InvalidRequest(f"The field '{part}' comes after a file; {ORDER}.", param=part)
            elif isinstance(event, PartData) and event.data:
                filled.add(part)
                yield FILES[part], event.data
        for file in FILES:
            if file not in filled:
                raise InvalidRequest(f"The file '{file}' ({FILES[file]}) is missing or empty.", param=file)

    def _begin(self, part: PartBegin) -> str:
        if part.name not in FIELDS and part.name not in FILES:
            raise InvalidRequest(
                f"The part '{part.name[:64]}' is unknown; {ORDER}, and nothing else.", param=part.name[:64]
            )
        if part.name in self._seen:
            raise InvalidRequest(f"The part '{part.name}' is there twice; send it once.", param=part.name)
        self._seen.add(part.name)
        return part.name

    async def _text(self, field: str) -> str:
        value = b""
        async for event in self._events:
            if isinstance(event, PartEnd):
                break
            assert isinstance(event, PartData)
            value += event.data
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidRequest(f"{field}: longer than {MAX_FIELD_BYTES} bytes; shorten it.", param=field)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{field}: not valid UTF-8.", param=field) from error
