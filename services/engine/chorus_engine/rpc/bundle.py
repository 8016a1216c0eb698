"""The tokenizer's files, as gateways fetch them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chorus_engine.core.errors import StartError
from chorus_proto.engine.v1 import engine_pb2 as pb

_REQUIRED = "tokenizer.json"
_OPTIONAL = ("chat_template.jinja", "generation_config.json", "special_tokens_map.json", "tokenizer_config.json")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenizerBundle:
    data: bytes  # one serialized TokenizerBundle message
    digest: str  # its SHA-256

    @property
    def tokenizer(self) -> str:
        """tokenizer.json, as text."""
        files = pb.TokenizerBundle.FromString(self.data).files
        return next(file.content for file in files if file.name == _REQUIRED).decode()

    def chunks(self) -> Iterator[memoryview]:
        view = memoryview(self.data)
        return (view[start : start + _CHUNK_BYTES] for start in range(0, len(view), _CHUNK_BYTES))


def read_bundle(folder: Path) -> TokenizerBundle:
    """The tokenizer of a checkpoint's folder. Raises StartError when it has none."""
    if not (folder / _REQUIRED).is_file():
        raise StartError(f"{folder} has no {_REQUIRED}; give a checkpoint with a fast tokenizer.")
    names = sorted(name for name in (_REQUIRED, *_OPTIONAL) if (folder / name).is_file())
    files = [pb.TokenizerBundle.File(name=name, content=(folder / name).read_bytes()) for name in names]
    data = pb.TokenizerBundle(files=files).SerializeToString(deterministic=True)
    return TokenizerBundle(data, hashlib.sha256(data).hexdigest())
