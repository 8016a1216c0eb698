"""The tokenizer's files, as an engine hands them over."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from chorus_gateway.errors import Internal
from chorus_proto.engine.v1 import engine_pb2

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Bundle:
    """`files` by name. Internal when the bytes do not have the digest, or are no bundle with a tokenizer in it."""

    def __init__(self, digest: str, data: bytes) -> None:
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise Internal(f"The engine's tokenizer has digest {actual}, not {digest} as the engine said.")
        try:
            files = engine_pb2.TokenizerBundle.FromString(data).files
        except DecodeError as error:
            raise Internal(f"The engine's tokenizer bundle {digest} cannot be read: {error}.") from error
        self.files: Mapping[str, bytes] = {file.name: file.content for file in files}
        if "tokenizer.json" not in self.files:
            raise Internal(f"The engine's tokenizer bundle {digest} has no tokenizer.json.")

    @property
    def tokenizer_json(self) -> bytes:
        return self.files["tokenizer.json"]

    def chat_template(self) -> str | None:
        """A file of its own wins over the field in tokenizer_config.json; of several named templates, "default"."""
        if (own := self.files.get("chat_template.jinja")) is not None:
            return own.decode()
        template = self._json("tokenizer_config.json").get("chat_template")
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        return template if isinstance(template, str) else None

    def special_tokens(self) -> dict[str, str]:
        """By name, such as {"bos_token": "<s>"}."""
        merged = self._json("special_tokens_map.json") | self._json("tokenizer_config.json")
        tokens = {name: merged[name] for name in _SPECIAL_TOKENS if merged.get(name) is not None}
        return {name: token["content"] if isinstance(token, dict) else str(token) for name, token in tokens.items()}

    def _json(self, name: str) -> dict[str, Any]:
        content = self.files.get(name)
        return dict(json.loads(content)) if content else {}
