"""The bytes that a single token stands for, as log probabilities report them."""

import functools
import json
from collections.abc import Callable

from tokenizers import Tokenizer


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes, which byte-level vocabularies are written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + at): byte for at, byte in enumerate(others)})
    return table


class TokenBytes:
    """Knows a tokenizer's way of writing bytes: byte-level alphabet, or "▁" for space and "<0xE2>" for a byte."""

    def __init__(self, tokenizer: Tokenizer, tokenizer_json: bytes) -> None:
        self._tokenizer = tokenizer
        description = json.loads(tokenizer_json)
        self._added = {token["id"] for token in description.get("added_tokens") or ()}
        byte_level = '"ByteLevel"' in json.dumps(description.get("decoder"))
        self._spell: Callable[[str], bytes] = _from_byte_level if byte_level else _from_metaspace

    def of(self, token_id: int) -> bytes:
        """Empty for an id that the tokenizer does not have, as models with padded vocabularies may produce."""
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        return token.encode() if token_id in self._added else self._spell(token)


def _from_byte_level(token: str) -> bytes:
    table = _byte_of_character()
    if all(character in table for character in token):
        return bytes(table[character] for character in token)
    return token.encode()


def _from_metaspace(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()
