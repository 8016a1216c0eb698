import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.auth.keys import ALPHABET, FORM, checksum, generate_key, parse_key

BODY = "chorus_" + "a" * 12 + "_" + "b" * 32
GOOD = BODY + checksum(BODY)


def test_a_generated_key_parses_to_itself() -> None:
    key = generate_key()
    assert FORM.fullmatch(key.text)
    assert len(key.text) == len("chorus_") + 12 + 1 + 32 + 6
    assert parse_key(key.text) == key
    assert key.text not in repr(key)


def test_a_checksum_is_six_characters_and_never_changes() -> None:
    assert checksum(BODY) == "3Qavea"
    assert parse_key(GOOD) is not None


def test_keys_differ() -> None:
    keys = [generate_key() for _ in range(1000)]
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 1000


@given(position=st.integers(min_value=7, max_value=57), letter=st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(position: int, letter: str) -> None:
    text = generate_key().text
    if text[position] in (letter, "_"):
        return
    assert parse_key(text[:position] + letter + text[position + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-abc",
        "chorus_",
        "chorus_abc_def",
        "chorus_" + "a" * 12 + "_" + "b" * 38,  # wrong checksum
        GOOD + "x",
        GOOD + "\n",
        GOOD[:-1],
        "' OR 1=1 --",
        "chorus_" + "é" * 12 + "_" + "b" * 38,
    ],
)
def test_what_is_no_key_is_refused_by_its_form(text: str) -> None:
    assert parse_key(text) is None


def test_the_fingerprint_depends_on_the_pepper() -> None:
    key = generate_key()
    assert key.fingerprint(b"one") != key.fingerprint(b"two")
    assert len(key.fingerprint(b"one")) == 32
