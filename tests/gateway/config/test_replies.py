"""Redis's answers, however its bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from chorus_gateway.replies import Replies

SAID = b"$5\r\na\r\nbc\r\n:-7\r\n*3\r\n$0\r\n\r\n*1\r\n:1\r\n$-1\r\n+OK\r\n$2\r\n\xc3\xa9\r\n*0\r\n"
MEANT = ["a\r\nbc", -7, ["", [1], None], "OK", "é", []]


@given(cuts=st.lists(st.integers(0, len(SAID))))
def test_answers_are_found_however_they_are_cut(cuts: list[int]) -> None:
    replies = Replies()
    ends = sorted({*cuts, len(SAID)})
    parts = [SAID[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert [reply for part in parts for reply in replies.feed(part)] == MEANT


def test_errors_are_values() -> None:
    noscript, wrong, loading = Replies().feed(b"-NOSCRIPT No matching\r\n-ERR wrong\r\n-LOADING not yet\r\n")
    assert isinstance(noscript, NoScriptError)
    assert isinstance(wrong, ResponseError)
    assert str(wrong) == "ERR wrong"
    assert isinstance(loading, RedisConnectionError)


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(RedisConnectionError, match="no answer"):
        Replies().feed(b"HTTP/1.1 400 Bad Request\r\n")
