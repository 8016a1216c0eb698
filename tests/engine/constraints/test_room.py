"""Constraints are compiled before a request runs, tried elsewhere first, kept within bounds, refused with reasons."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from chorus_engine.constraints import ConstraintRoom
from chorus_engine.constraints.cache import BASE_BYTES, GrammarCache
from chorus_engine.constraints.gate import ConstraintGate
from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import ConstraintRefused, EngineError
from chorus_engine.core.request import Request, SamplingParams
from chorus_engine.telemetry.constraints import ConstraintMetrics
from tests.engine.constraints.support.served import schema

TOKENIZER = Path(__file__).parents[3] / "examples" / "demo" / "model" / "tokenizer.json"
CHAIN = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(6000)}


@pytest.fixture(scope="module")
def room() -> Iterator[ConstraintRoom]:
    room = ConstraintRoom(TOKENIZER.read_text(), 384, (2,))
    yield room
    room.close()


def complaint(room: ConstraintRoom, constraint: Constraint) -> str:
    error = room.cache.lease(constraint).exception()
    room.cache.release(constraint)
    room.cache.check()
    assert isinstance(error, ConstraintRefused)
    return str(error)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"type": "foo"}, "at #: Invalid type: foo."),
        (
            {"properties": {"a": {"anyOf": [{"type": "null"}, {"items": {"not": {}}}]}}},
            "at #/properties/a/anyOf/1/items",
        ),
        ({"properties": {"a/b": {"type": "string", "pattern": "(?=x)"}}}, "at #/properties/a~1b: regex parse error"),
        ({"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}}, "at #/properties/x: Pointer '/$defs/y'"),
        ({"type": "array", "uniqueItems": True}, 'at #: Unimplemented keys: ["uniqueItems"].'),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "Unimplemented keys"),
    ],
)
def test_a_schemas_fault_is_named_with_its_place(room: ConstraintRoom, broken: dict[str, Any], said: str) -> None:
    assert said in complaint(room, schema(json.dumps(broken)))


def test_other_faults_are_named(room: ConstraintRoom) -> None:
    assert "no JSON" in complaint(room, schema('{"type":'))
    assert "must be a JSON object" in complaint(room, schema("[]"))
    assert "look-ahead" in complaint(room, Constraint(ConstraintKind.REGEX, "a(?=b)"))
    assert 'unknown name: "b"' in complaint(room, Constraint(ConstraintKind.LARK, "start: b"))
    assert "300000 characters" in complaint(room, Constraint(ConstraintKind.REGEX, "a" * 300000))


def test_what_would_end_the_engine_ends_the_trial(room: ConstraintRoom) -> None:
    """llguidance follows references by recursion: this one overflows the stack of the process that compiles it."""
    deep = schema(json.dumps({"$ref": "#/$defs/d0", "$defs": {**CHAIN, "d6000": {"type": "string"}}}))
    assert "more time, memory or depth" in complaint(room, deep)
    good = schema('{"type": "string"}')
    assert room.cache.lease(good).result() is room.cache.leased(good)
    room.cache.release(good)


def test_without_the_library_a_constraint_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    bare = ConstraintRoom(TOKENIZER.read_text(), 384, (2,))
    assert "llguidance is not installed" in complaint(bare, schema("{}"))
    bare.close()


class Shelf:
    """A cache whose compilations run when the test says so."""

    def __init__(self, **bounds: int) -> None:
        self.waiting: list[Any] = []
        self.compiled: list[str] = []
        self._registry = CollectorRegistry()
        metrics = ConstraintMetrics(self._registry)
        self.cache = GrammarCache(self._compile, self.waiting.append, watcher=metrics, **bounds)

    def counted(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"constraint_{name}", labels)

    def work(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def _compile(self, constraint: Constraint) -> Any:
        self.compiled.append(constraint.source)
        if constraint.source == "bad":
            raise ConstraintRefused("it is bad.")
        return constraint.source


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def test_all_who_ask_meanwhile_wait_for_one_compilation() -> None:
    shelf = Shelf()
    futures: list[Future[Any]] = [shelf.cache.lease(regex("a")) for _ in range(3)]
    assert not futures[0].done()
    shelf.work()
    assert [future.result() for future in futures] == ["a"] * 3
    assert shelf.compiled == ["a"]
    assert shelf.counted("compile_seconds_count", result="ok") == 1
    assert shelf.counted("cache_hits_total") == 2


@pytest.mark.parametrize("bounds", [{"max_grammars": 2}, {"max_bytes": 2 * BASE_BYTES + 1000}])
def test_what_nobody_leases_goes_first_leased_first_gone(bounds: dict[str, int]) -> None:
    shelf = Shelf(**bounds)
    for name in "abcd":
        shelf.cache.lease(regex(name))
    shelf.work()
    assert len(shelf.cache) == 4, "leased ones stay"
    for name in "abcd":
        shelf.cache.release(regex(name))
        shelf.cache.check()
    assert len(shelf.cache) == 2
    assert shelf.counted("cache_evictions_total") == 2
    shelf.cache.lease(regex("d"))
    shelf.cache.lease(regex("a"))
    shelf.work()
    assert shelf.compiled == [*"abcd", "a"]


def test_a_refused_constraint_is_forgotten_with_its_last_lease() -> None:
    shelf = Shelf()
    for _ in range(2):
        future = shelf.cache.lease(regex("bad"))
        shelf.work()
        assert isinstance(future.exception(), ConstraintRefused)
        shelf.cache.release(regex("bad"))
        assert len(shelf.cache) == 0
    assert shelf.compiled == ["bad", "bad"]
    assert shelf.counted("compile_seconds_count", result="refused") == 2
    assert shelf.counted("cache_evictions_total") == 0


class Loop:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def submit(self, request: Request) -> None:
        self.said.append(("submit", request.id))

    def cancel(self, request_id: str) -> None:
        self.said.append(("cancel", request_id))

    def refuse(self, request_id: str, error: EngineError) -> None:
        self.said.append(("refuse", request_id))


def ask(name: str, source: str | None) -> Request:
    constraint = None if source is None else regex(source)
    return Request(name, (1,), SamplingParams(max_tokens=1, constraint=constraint))


def test_requests_enter_once_compiled_and_others_at_once() -> None:
    shelf, loop = Shelf(), Loop()
    gate = ConstraintGate(loop, shelf.cache)
    for name, source in (("bound", "a"), ("free", None), ("gone", "a"), ("bad", "bad")):
        gate.submit(ask(name, source))
    gate.cancel("gone")
    gate.cancel("free")
    assert loop.said == [("submit", "free"), ("cancel", "free")]
    loop.said.clear()
    shelf.work()
    assert loop.said == [("submit", "bound"), ("submit", "gone"), ("cancel", "gone"), ("refuse", "bad")]
    for name in ("bound", "free", "gone", "bad"):
        gate.ended(name)
        gate.ended(name)  # of what is no longer known
    shelf.cache.check()
    assert len(shelf.cache) == 1, "the good one stays for the next"
    gate.submit(ask("again", "a"))
    assert loop.said[-1] == ("submit", "again"), "nothing is to be waited for"
