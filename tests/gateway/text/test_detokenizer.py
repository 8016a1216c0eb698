import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from chorus_gateway.text.detokenizer import Detokenizer
from chorus_gateway.text.token_bytes import TokenBytes
from tests.gateway.support.tokenizers import END, ids, tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXT)
def test_the_pieces_are_the_whole_and_no_piece_is_broken(text: str) -> None:
    detokenizer = Detokenizer(tokenizer())
    pieces = [detokenizer.step(token) for token in ids(text)]
    assert "".join(pieces) == text
    assert detokenizer.flush() == ""
    assert text.count("�") == "".join(pieces).count("�")


def test_an_unfinished_character_comes_with_the_flush_alone() -> None:
    detokenizer = Detokenizer(tokenizer())
    snowman = ids("☃")
    assert len(snowman) == 3
    assert [detokenizer.step(token) for token in snowman[:2]] == ["", ""]
    assert detokenizer.flush() == "�"
    assert detokenizer.flush() == ""


@given(st.lists(st.integers(0, tokenizer().get_vocab_size() - 1), max_size=60))
def test_any_tokens_at_all_give_what_decoding_them_together_gives(tokens: list[int]) -> None:
    detokenizer = Detokenizer(tokenizer())
    text = "".join(detokenizer.step(token) for token in tokens) + detokenizer.flush()
    whole = tokenizer().decode(tokens, skip_special_tokens=True)
    # Long runs of bytes that are no text may be cut elsewhere into replacement characters.
    assert text.replace("�", "") == whole.replace("�", "")


def test_special_tokens() -> None:
    assert Detokenizer(tokenizer()).step(END) == ""
    assert Detokenizer(tokenizer(), skip_special_tokens=False).step(END) == "<|end|>"


@pytest.mark.parametrize("token", [END, ids("☃")[0]])
def test_a_long_run_without_text_costs_no_square(token: int) -> None:
    detokenizer = Detokenizer(tokenizer())
    started = time.process_time()
    for _ in range(20_000):
        detokenizer.step(token)
    assert time.process_time() - started < 30, "20,000 steps take a fraction of a second, or minutes with a square"


def metaspace() -> Tokenizer:
    vocab = {"<unk>": 0, "▁once": 1, "▁more": 2, "<0xE2>": 3, "<0x98>": 4, "<0x83>": 5}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def test_a_text_goes_on_with_its_space() -> None:
    assert Detokenizer(metaspace(), context=[1]).step(2) == " more"
    assert Detokenizer(metaspace()).step(2) == "more"


def test_the_bytes_of_a_token() -> None:
    level = TokenBytes(tokenizer(), tokenizer().to_str().encode())
    assert b"".join(level.of(token) for token in ids("héllo ☃\n")) == "héllo ☃\n".encode()
    assert level.of(END) == b"<|end|>"
    assert level.of(100_000) == b""
    fallback = TokenBytes(metaspace(), metaspace().to_str().encode())
    assert [fallback.of(token) for token in (1, 3)] == [b" once", b"\xe2"]
