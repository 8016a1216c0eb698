"""Every answer that a random schema binds is valid, at temperature 1, from the demo's model with an adapter."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator, FormatChecker

from chorus_engine.core.request import FinishReason, Request
from tests.engine.constraints.support.schemas import schemas
from tests.engine.constraints.support.served import Demo, schema
from tests.support.often import often

SCHEMAS = often(30)  # a thousand: make test-long TIMES=34 TESTS=tests/engine/constraints PYTEST_ARGS=-s
AT_ONCE = 250


@pytest.mark.hypothesis
def test_answers_are_valid(demo: Demo) -> None:
    asked, refused = _accepted(demo, SCHEMAS)
    ended = 0
    for first in range(0, len(asked), AT_ONCE):
        requests = [
            _request(demo, number, source) for number, source in enumerate(asked[first : first + AT_ONCE], first)
        ]
        run = demo.run(requests, depth=2)
        for request in requests:
            answer = run.answers[request.id]
            assert answer.finish in (FinishReason.STOP, FinishReason.LENGTH), (request, answer.error)
            if answer.finish is FinishReason.STOP:
                ended += 1
                _check(asked[int(request.id)], answer.text)
    print(f"{len(asked)} schemas, {ended} answers ended, {refused} schemas refused")
    assert ended >= 0.9 * len(asked), "the others ran out of tokens"


def _request(demo: Demo, number: int, source: str) -> Request:
    return demo.request(str(number), "Describe a garden.", schema(source), max_tokens=400, seed=number)


def _check(source: str, text: str) -> None:
    parsed = json.loads(source)
    Draft202012Validator(parsed, format_checker=FormatChecker()).validate(json.loads(text))


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
