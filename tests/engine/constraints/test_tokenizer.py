"""Names of special tokens in what a constraint demands are text, whatever the kind of tokenizer."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from chorus_engine.constraints.grammar import compile_grammar
from chorus_engine.constraints.tokenizer import TokenTable, without_special_names
from chorus_engine.core.constraint import Constraint, ConstraintKind

SPECIAL = ["<unk>", "<|end|>", "<|added|>"]
LETTERS = ["<", "|", ">", "a", "d", "e", "n", "u", "k", "nd"]


def bpe() -> Tokenizer:
    vocab = {piece: at for at, piece in enumerate([*SPECIAL[:2], *LETTERS])}
    tokenizer = Tokenizer(models.BPE(vocab, [("n", "d")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [
        (piece, -float(at)) for at, piece in enumerate([*SPECIAL[:2], *LETTERS, *(f"<0x{n:02X}>" for n in range(256))])
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


@pytest.fixture(params=[bpe, unigram])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Tokenizer = request.param()
    made.add_special_tokens(SPECIAL)
    return made


def test_ids_stay(tokenizer: Tokenizer) -> None:
    renamed = Tokenizer.from_str(without_special_names(tokenizer.to_str()))
    assert renamed.get_vocab_size() == tokenizer.get_vocab_size()
    for token in range(tokenizer.get_vocab_size()):
        name, before = renamed.id_to_token(token), tokenizer.id_to_token(token)
        assert (name == before) == (before not in SPECIAL), before
    assert renamed.encode("dune").ids == tokenizer.encode("dune").ids


@pytest.mark.parametrize("text", SPECIAL[1:])
def test_a_special_name_is_spelled_out(tokenizer: Tokenizer, text: str) -> None:
    size = tokenizer.get_vocab_size()
    table = TokenTable(tokenizer.to_str(), size, (SPECIAL.index("<|end|>"),))
    matcher = compile_grammar(Constraint(ConstraintKind.CHOICE, json.dumps([text])), table)
    spelled = b""
    while not matcher.is_stopped():
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        token = int(np.flatnonzero(allowed[:size])[0])
        spelled += table.get().decode_bytes([token])
        matcher.consume_token(token)
    assert spelled == text.encode()
