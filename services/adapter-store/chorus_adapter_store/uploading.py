"""Two files arriving as one stream of parts."""

from collections.abc import AsyncIterator, Mapping

from chorus_adapter_store.blobs import Upload
from chorus_adapter_store.errors import InvalidArgument, TooLarge
from chorus_adapter_store.names import quote

Part = tuple[str, bytes]  # file, the next bytes of it


async def receive(parts: AsyncIterator[Part], uploads: Mapping[str, Upload], limits: Mapping[str, int]) -> None:
    """Write every part to its upload. Raises InvalidArgument or TooLarge as soon as something is wrong."""
    current = ""
    begun: list[str] = []
    async for file, data in parts:
        if file not in uploads:
            raise InvalidArgument("file", f"{quote(file)} is not a file of an adapter; send {' and '.join(uploads)}")
        if file != current:
            if file in begun:
                raise InvalidArgument(file, "its chunks must come together, before or after the other file's")
            begun.append(file)
            current = file
        upload, limit = uploads[file], limits[file]
        if upload.size + len(data) > limit:
            raise TooLarge(f"{file}: the file has more than the {limit} bytes allowed")
        await upload.write(data)
    for file in uploads:
        if file not in begun:
            raise InvalidArgument(file, "the upload has no such file")
