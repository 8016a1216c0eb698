import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.batches.lines import MAX_CUSTOM_ID, Line, parse, split
from chorus_gateway.batches.values import Problem
from tests.gateway.support.batches import ENDPOINT, line

LIMIT = 100


async def pieces(content: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for cut in [*sorted({cut % (len(content) + 1) for cut in cuts}), len(content)]:
        yield content[at:cut]
        at = cut


@given(
    st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=8),
    st.lists(st.integers(0, 200), max_size=6),
)
async def test_lines_are_those_of_the_file_wherever_its_chunks_end(texts: list[bytes], cuts: list[int]) -> None:
    content = b"\n".join(texts)
    found = [each async for each in split(pieces(content, cuts), LIMIT)]
    assert found == [(number, text) for number, text in enumerate(texts, 1) if text.strip()]


async def test_of_a_long_line_comes_enough_to_refuse_it() -> None:
    content = b"short\n" + b"x" * 1000 + b"\nshort\n" + b"y" * 1000
    found = [each async for each in split(pieces(content, [3, 50, 300, 1100]), LIMIT)]
    assert [(number, len(text)) for number, text in found] == [(1, 5), (2, LIMIT + 1), (3, 5), (4, LIMIT + 1)]
    problem = parse(2, found[1][1], ENDPOINT, LIMIT)
    assert isinstance(problem, Problem)
    assert problem.code == "line_too_long"


def test_a_line_that_is_right() -> None:
    assert parse(7, json.dumps(line(1)).encode(), ENDPOINT, 1000) == Line(7, "c1", line(1)["body"])


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"custom_id": None}, "invalid_custom_id", "custom_id"),
        ({"custom_id": ""}, "invalid_custom_id", "custom_id"),
        ({"custom_id": 1}, "invalid_custom_id", "custom_id"),
        ({"custom_id": "x" * (MAX_CUSTOM_ID + 1)}, "invalid_custom_id", "custom_id"),
        ({"custom_id": "\ud800"}, "invalid_custom_id", "custom_id"),
        ({"method": "GET"}, "invalid_method", "method"),
        ({"url": "/v1/models"}, "mismatched_endpoint", "url"),
        ({"body": []}, "invalid_body", "body"),
        ({"body": None}, "invalid_body", "body"),
    ],
)
def test_a_line_that_is_wrong_says_where(fields: dict[str, Any], code: str, param: str) -> None:
    problem = parse(3, json.dumps(line(1, **fields)).encode(), ENDPOINT, 1000)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.param, problem.line) == (code, param, 3)


@pytest.mark.parametrize("text", [b"[]", b"1", b"{", b"\xff\xfe\xff", b'{"a": ' + b"[" * 100_000])
def test_a_line_that_is_no_object(text: bytes) -> None:
    problem = parse(1, text, ENDPOINT, 1 << 20)
    assert isinstance(problem, Problem)
    assert problem.code == "invalid_json_line"
