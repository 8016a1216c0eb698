"""A tokenizer of any size for models that have none: every byte, then words, numbers and JSON's punctuation."""

import json
import random
import string

NO_WORDS = (
    *range(33, 127),
    *range(161, 173),
    *range(174, 256),
)  # bytes that a byte-level vocabulary writes as they are


def tokenizer_json(size: int, eos: int, seed: int = 0) -> str:
    """As tokenizer.json has it. The token `eos` ends texts; the others' ids mean nothing."""
    draw = random.Random(seed)
    spell = _spelling()
    words: dict[str, None] = dict.fromkeys(spell.values())
    while len(words) < size - 1:
        words["".join(spell[byte] for byte in _word(draw).encode())] = None
    texts = list(words)
    texts.insert(min(eos, len(texts)), "<|end|>")
    vocabulary = {text: token for token, text in enumerate(texts)}
    end = {"id": vocabulary["<|end|>"], "content": "<|end|>", "special": True, "normalized": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [{**end, **flags}],
            "pre_tokenizer": bytes_alone,
            "decoder": bytes_alone,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        }
    )


def _word(draw: random.Random) -> str:
    """Shares as in vocabularies of large models, about."""
    kind = draw.random()
    if kind < 0.08:
        return "".join(draw.choices('{}[]":,.;()<>=-_/\\ \n', k=draw.randint(2, 4)))
    if kind < 0.1:
        return "".join(draw.choices(string.digits, k=draw.randint(2, 3)))
    space = " " if kind < 0.6 else ""
    return space + "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9)))


def _spelling() -> dict[int, str]:
    """Each byte's character in byte-level vocabularies."""
    spell = {byte: chr(byte) for byte in NO_WORDS}
    others = [byte for byte in range(256) if byte not in spell]
    return spell | {byte: chr(256 + place) for place, byte in enumerate(others)}
