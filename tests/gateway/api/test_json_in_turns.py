"""The reader of large bodies beside Python's own: the same values, and the same complaints."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_gateway.api import json_in_turns
from chorus_gateway.api.json_in_turns import TooManyNests, read_in_turns

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just('",]}[{:\\'))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=6)
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Any:
    """So that what hypothesis makes is read in many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_in_turns, "_PIECE", 24)
        patch.setattr(json_in_turns, "_SMALL", 12)
        patch.setattr(json_in_turns, "_PAUSE_AFTER", 2)
        yield


def told(read: Any, content: bytes) -> str:
    try:
        return repr(read(content))
    except json.JSONDecodeError as error:
        return f"{error.msg} at {error.pos}" if sys.version_info < (3, 13) else "refused"  # it is worded anew there
    except ValueError as error:
        return repr(error)


@settings(max_examples=40)
@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_what_is_written_is_read(value: Any, indent: Any, ascii_only: bool) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert told(read_in_turns, content) == told(json.loads, content)


@settings(max_examples=40)
@given(VALUES, st.data())
def test_what_is_damaged_is_refused_alike(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    damaged = text[:at] + data.draw(st.sampled_from(["", *'[]{},:"1 \\\x00'])) + text[at + cut :]
    content = damaged.encode()
    assert told(read_in_turns, content) == told(json.loads, content)


@pytest.mark.parametrize(
    "content", [b"", b"  ", b"\xff\xfe[\x00]\x00", b"\xef\xbb\xbf[1]", b"[\xff]", b'{"a":1,"a":[2]}']
)
def test_odd_ends(content: bytes) -> None:
    assert told(read_in_turns, content) == told(json.loads, content)


def test_lists_and_objects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 1000
    monkeypatch.setattr(json_in_turns, "MAX_NESTS", most)
    assert read_in_turns(b"[" + b"[]," * (most - 2) + b"{}]")
    with pytest.raises(TooManyNests):
        read_in_turns(b"[" + b"[]," * most + b"{}]")
    assert len(str(read_in_turns(b'["' + b"[{" * most + b'"]'))) > most, "those in texts do not count"
    with pytest.raises(RecursionError):
        read_in_turns(b"[" * most)
