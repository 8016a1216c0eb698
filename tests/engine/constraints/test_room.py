"""Constraints are compiled before a request runs, tried elsewhere first, kept within bounds, refused with reasons."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from chorus_engine.constraints import ConstraintRoom
from chorus_engine.constraints.cache import BASE_BYTES, GrammarCache
from chorus_engine.constraints.compilers import Compilers
from chorus_engine.constraints.gate import MOST_WAITING, ConstraintGate
from chorus_engine.constraints.grammar import compile_grammar
from chorus_engine.constraints.lanes import Grammar
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
    assert complaint(room, Constraint(ConstraintKind.LARK, "start: start")) == "no text fits it."
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
        self.tenants: list[str] = []
        self.compiled: list[str] = []
        self.now = 0.0
        self._registry = CollectorRegistry()
        metrics = ConstraintMetrics(self._registry)
        self.widened: list[str] = []
        self.cache = GrammarCache(
            self._compile, self._start, widen=self._widen, watcher=metrics, clock=lambda: self.now, **bounds
        )

    def _start(self, tenant: str, call: Callable[[], None]) -> None:
        self.tenants.append(tenant)
        self.waiting.append(call)

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

    def _widen(self, constraint: Constraint, grammar: Any) -> None:
        assert grammar == constraint.source
        self.widened.append(grammar)
        if grammar == "once":
            raise ConstraintRefused("it was good before.")


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


@pytest.mark.parametrize("name", ["a", "once"])
@pytest.mark.parametrize("before", [1, 5])
def test_as_many_lanes_as_requests_but_no_more_than_are_allowed(name: str, before: int) -> None:
    """Requests that come while it is compiled count too, and a lane that fails is not tried again."""
    shelf = Shelf(max_lanes=3)
    for _ in range(before):
        shelf.cache.lease(regex(name))
    shelf.work()
    assert shelf.widened == [name] * (min(before, 3) - 1)
    shelf.cache.check()
    for _ in range(5 - before):
        shelf.cache.lease(regex(name))
    shelf.work()
    assert shelf.widened == [name] * 2
    for _ in range(5):
        shelf.cache.release(regex(name))
        shelf.cache.check()
    shelf.cache.lease(regex(name))
    shelf.work()
    assert (shelf.compiled, shelf.widened) == ([name], [name] * 2)


def test_no_lane_is_added_to_what_was_refused_or_is_gone() -> None:
    shelf = Shelf(max_lanes=3, max_grammars=1)
    for name in ("bad", "bad", "gone", "gone"):
        shelf.cache.lease(regex(name))
    shelf.waiting.pop(0)()
    shelf.waiting.pop(0)()
    for name in ("gone", "gone"):
        shelf.cache.release(regex(name))
    assert len(shelf.cache) == 1
    shelf.work()
    shelf.cache.check()
    assert shelf.widened == ["gone"], "which was on its way"


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


def test_what_another_tenant_waits_for_too_is_compiled_in_the_first_turn_of_either() -> None:
    shelf = Shelf()
    for tenant in ("a", "b", "a"):
        shelf.cache.lease(regex("x"), tenant)
    assert shelf.tenants == ["a", "b"]
    shelf.work()
    shelf.cache.lease(regex("x"), "c")
    assert (shelf.compiled, shelf.tenants) == (["x"], ["a", "b"])


def test_what_nobody_waits_for_any_more_is_not_compiled() -> None:
    shelf = Shelf()
    shelf.cache.lease(regex("x"))
    shelf.cache.release(regex("x"))
    assert len(shelf.cache) == 0
    shelf.work()
    assert shelf.compiled == []


def test_a_refusal_is_remembered_for_a_minute() -> None:
    shelf = Shelf()
    for now, tries in ((0.0, 1), (59.0, 1), (61.0, 2)):
        shelf.now = now
        future = shelf.cache.lease(regex("bad"))
        shelf.work()
        assert isinstance(future.exception(), ConstraintRefused)
        shelf.cache.release(regex("bad"))
        assert shelf.compiled == ["bad"] * tries
    shelf.cache.check()
    assert shelf.counted("compile_seconds_count", result="refused") == 2
    assert shelf.counted("cache_evictions_total") == 0


def test_tenants_have_turns_and_one_thread_each() -> None:
    compilers = Compilers(2)
    order: list[str] = []
    gates = {tenant: Event() for tenant in "abc"}
    done = {tenant: Event() for tenant in "abc"}

    def call(name: str) -> None:
        order.append(name)
        assert gates[name[0]].wait(10)
        if name in ("a3", "b2", "c1"):
            done[name[0]].set()

    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        compilers.start(name[0], partial(call, name))
    gates["b"].set()
    assert done["b"].wait(10), "b has the thread that a may not have"
    gates["c"].set()
    assert done["c"].wait(10)
    assert sorted(order[:2]) == ["a1", "b1"]
    assert order[2:] == ["c1", "b2"] or order[2:] == ["b2", "c1"]
    gates["a"].set()
    assert done["a"].wait(10)
    compilers.close()


def test_a_grammar_that_costs_much_to_follow_is_ended_by_its_limits(room: ConstraintRoom) -> None:
    """Each token takes longer than the one before, and all rows of a step wait for it."""
    ambiguous = Constraint(ConstraintKind.LARK, "start: s\ns: s s s | s s | /[a-z ]/ |")
    assert room.cache.lease(ambiguous).exception() is None
    matcher = room.source.matcher(ambiguous, ())
    masks = np.zeros((1, 12), np.int32)
    for _ in range(40):
        room.source.fill([(matcher, 0, ())], masks)
        if matcher.error is not None:
            break
        allowed = np.flatnonzero(np.unpackbits(masks.view(np.uint8)[0], bitorder="little"))
        matcher.take(int(allowed[allowed != 2][0]))
    assert "could not be constrained any further" in str(matcher.error)
    room.cache.release(ambiguous)


def test_rows_of_one_grammar_follow_in_lanes_of_their_own(room: ConstraintRoom) -> None:
    grammar = Grammar(compile_grammar(regex("[ab]{3}"), room.table))
    grammar.add(compile_grammar(regex("[ab]{3}"), room.table))
    first, second, third = (grammar.follow() for _ in range(3))
    assert first.lane != second.lane
    assert third.lane in (first.lane, second.lane)
    del second, third
    gc.collect()
    fourth = grammar.follow()
    assert fourth.lane != first.lane
    masks = np.zeros((2, 12), np.int32)
    room.source.fill([(first, 0, ()), (fourth, 1, ())], masks)
    assert masks[0].any()
    assert (masks[0] == masks[1]).all()


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
    assert loop.said == [("submit", "free"), ("refuse", "gone"), ("cancel", "free")]
    loop.said.clear()
    assert gate.waiting == 2
    shelf.work()
    assert loop.said == [("submit", "bound"), ("refuse", "bad")]
    assert gate.waiting == 0
    for name in ("bound", "free", "gone", "bad"):
        gate.ended(name)
        gate.ended(name)  # of what is no longer known
    shelf.cache.check()
    assert len(shelf.cache) == 2, "the good one stays for the next, and the refusal for a minute"
    gate.submit(ask("again", "a"))
    assert loop.said[-1] == ("submit", "again"), "nothing is to be waited for"


def test_one_tenants_waiting_requests_are_bounded() -> None:
    shelf, loop = Shelf(), Loop()
    gate = ConstraintGate(loop, shelf.cache)
    for number in range(MOST_WAITING + 1):
        gate.submit(replace(ask(str(number), str(number)), tenant="a"))
    gate.submit(replace(ask("other", "0"), tenant="b"))
    assert loop.said == [("refuse", str(MOST_WAITING))]
    assert gate.waiting == MOST_WAITING + 1
    gate.ended(str(MOST_WAITING))
    shelf.work()
    assert gate.waiting == 0
    assert len(loop.said) == MOST_WAITING + 2
