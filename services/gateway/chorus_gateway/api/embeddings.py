"""POST /v1/embeddings."""

import asyncio
import json
import math
import struct
from base64 import b64encode
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response

from chorus_gateway.answer import Opening, Piece
from chorus_gateway.api.direct import DirectRoute
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.exchange import while_connected
from chorus_gateway.api.generation import request_fields
from chorus_gateway.api.schemas_embeddings import EmbeddingList, EmbeddingRequest, EmbeddingUsage
from chorus_gateway.ask import Ask
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.pipeline import Pipeline
from chorus_gateway.values import Pooling, Sampling, Usage

_VALUE = 4  # bytes
_BYTES_A_TURN = 16 << 10  # of vectors: a few milliseconds of the event loop


def embeddings_router(pipeline: Pipeline) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Embeddings"], route_class=DirectRoute)

    @router.post(
        "/embeddings",
        summary="Turn texts into vectors",
        response_model=None,
        responses={**ERRORS, 200: {"model": EmbeddingList, "description": "A vector of length 1 for each input."}},
    )
    async def create_embedding(request: Request, body: EmbeddingRequest) -> Response:
        """Of the base model or an adapter. Inputs are computed in the same steps as other requests' texts."""
        vectors = Vectors(body.dimensions)
        await while_connected(request.scope, request.receive, pipeline.run(_ask(request, body), vectors))
        content = await _written(vectors, binary=body.encoding_format == "base64")
        return Response(content, media_type="application/json", headers=vectors.opening.headers)

    return router


def _ask(request: Request, body: EmbeddingRequest) -> Ask:
    return Ask(
        prompts=body.input,
        prompt_field="input",
        sampling=Sampling(max_tokens=0, temperature=0.0),
        max_tokens=0,
        pooling=Pooling(body.pooling or "mean"),
        **request_fields(request, body),
    )


async def _written(vectors: "Vectors", *, binary: bool) -> bytes:
    """An EmbeddingList. Two thousand vectors take seconds to write as numbers: other requests go on in between."""
    tokens = vectors.usage.prompt_tokens
    usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    empty = EmbeddingList(data=[], model=vectors.opening.model.requested, usage=usage).model_dump_json().encode()
    before, _, after = empty.partition(b'"data":[')
    items: list[bytes] = []
    for index, data in enumerate(vectors.data()):
        value = b64encode(data).decode() if binary else list(_values(data))
        item = {"object": "embedding", "index": index, "embedding": value}
        items.append(json.dumps(item, separators=(",", ":")).encode())
        if (len(items) * len(data)) % _BYTES_A_TURN < len(data):
            await asyncio.sleep(0)
    return b"".join((before, b'"data":[', b",".join(items), after))


class Vectors:
    """The pipeline's Answer: float32 values, little-endian, of each input. Complete once all ended well."""

    opening: Opening
    usage: Usage

    def __init__(self, dimensions: int | None) -> None:
        self._dimensions = dimensions
        self._data: dict[int, bytes] = {}

    @property
    def keeps_up(self) -> bool:
        return True

    @property
    def reached(self) -> bool:
        return False

    def begin(self, opening: Opening) -> None:
        """InvalidRequest for more dimensions than the model has."""
        size = opening.model.base.hidden_size
        if self._dimensions is not None and self._dimensions > size:
            raise InvalidRequest(
                f"dimensions: {self._dimensions} is more than the {size} that this model has: ask for fewer.",
                param="dimensions",
            )
        self.opening = opening

    async def write(self, piece: Piece) -> None:
        self.write_now(piece)

    def write_now(self, piece: Piece) -> None:
        self._data[piece.index] = piece.embedding

    async def finish(self, usage: Usage) -> None:
        self.usage = usage

    def data(self) -> Iterator[bytes]:
        """In the order of the inputs."""
        return (_cut(self._data[index], self._dimensions) for index in sorted(self._data))


def _cut(data: bytes, dimensions: int | None) -> bytes:
    """The first values, as a vector of length 1."""
    if dimensions is None or dimensions * _VALUE >= len(data):
        return data
    values = _values(data[: dimensions * _VALUE])
    length = math.hypot(*values) or 1.0
    return struct.pack(f"<{dimensions}f", *(value / length for value in values))


def _values(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // _VALUE}f", data)
