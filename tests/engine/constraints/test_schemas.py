"""Every answer that a random schema binds is valid, at temperature 1, from the demo's model with an adapter."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator, FormatChecker

from chorus_engine.core.request import FinishReason
from tests.engine.constraints.support.schemas import schemas
from tests.engine.constraints.support.served import Demo, schema
from tests.support.often import often

SCHEMAS = often(30)  # a thousand: make test-long TIMES=34 TESTS=tests/engine/constraints PYTEST_ARGS=-s
AT_ONCE = 250
ROUNDS = 3
# llguidance knows a date's form and not its year: 29 February is one in any.
FORMATS = FormatChecker(["uuid", "ipv4", "email"])


@pytest.mark.hypothesis
def test_answers_are_valid(demo: Demo) -> None:
    asked, refused = _accepted(demo, SCHEMAS)
    left = list(range(len(asked)))
    for again in range(ROUNDS):  # what was cut is asked again
        before, left = left, []
        for first in range(0, len(before), AT_ONCE):
            left += _cut(demo, asked, before[first : first + AT_ONCE], again)
        print(f"{len(before)} of {len(asked)} asked, {len(left)} cut; {refused} schemas were refused")
    assert len(left) <= 1 + 0.02 * len(asked), "few schemas make a small model write without end"


def _cut(demo: Demo, asked: list[str], numbers: list[int], again: int) -> list[int]:
    """Those whose answers ran out of tokens; the others' are valid."""
    requests = [
        demo.request(str(n), "Describe a garden.", schema(asked[n]), max_tokens=400, seed=n + 100_000 * again)
        for n in numbers
    ]
    run = demo.run(requests, depth=2)
    cut = []
    for number in numbers:
        answer = run.answers[str(number)]
        if answer.finish is FinishReason.LENGTH:
            cut.append(number)
        else:
            assert answer.finish is FinishReason.STOP, (asked[number], answer.error)
            _check(asked[number], answer.text)
    return cut


def _check(source: str, text: str) -> None:
    parsed = json.loads(source)
    Draft202012Validator(parsed, format_checker=FORMATS).validate(json.loads(text))


def _accepted(demo: Demo, count: int) -> tuple[list[str], int]:
    """As many different schemas as can be compiled, and how many could not be."""
    found: dict[str, bool] = {}

    @settings(max_examples=2 * count, suppress_health_check=list(HealthCheck), deadline=None)
    @given(schemas())
    def collect(drawn: dict[str, Any]) -> None:
        source = json.dumps(drawn)
        if source not in found and sum(found.values()) < count:
            found[source] = _compiles(demo, source)

    collect()
    assert sum(found.values()) >= 0.8 * count, "most schemas can be compiled"
    return [source for source, good in found.items() if good], sum(not good for good in found.values())


def _compiles(demo: Demo, source: str) -> bool:
    constraint = schema(source)
    error = demo.room.cache.lease(constraint).exception()
    demo.room.cache.release(constraint)
    assert error is None or str(error).startswith("at #"), "it says where"
    return error is None
