from dataclasses import replace

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.routing.prefixes import Prefixes
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.view import View
from chorus_gateway.values import Job, ResolvedModel
from tests.gateway.support.members import load, member
from tests.gateway.support.values import base, job

SYSTEM = tuple(range(100, 300))


def prompt(*tail: int, namespace: bytes = bytes(32)) -> Job:
    made = job(prompt=SYSTEM + tail)
    model = ResolvedModel(made.model.requested, made.model.base, None, namespace)
    return Job("r", made.tenant, model, made.prompt, made.sampling)


def test_prompts_that_begin_alike_go_where_the_first_went() -> None:
    prefixes = Prefixes()
    assert prefixes.engines(prompt(1)) == frozenset()
    prefixes.note(prompt(1), "one")
    assert prefixes.engines(prompt(2)) == {"one"}
    assert prefixes.engines(job(prompt=SYSTEM[1:])) == frozenset()
    assert prefixes.engines(job(prompt=SYSTEM[:31])) == frozenset(), "too short to be worth anything"


def test_another_namespace_shares_nothing() -> None:
    prefixes = Prefixes()
    prefixes.note(prompt(1), "one")
    assert prefixes.engines(prompt(1, namespace=b"x" * 32)) == frozenset()


def test_the_longest_beginning_counts() -> None:
    prefixes = Prefixes()
    prefixes.note(prompt(*range(1000, 1300)), "one")
    prefixes.note(prompt(*range(2000, 2300)), "two")
    assert prefixes.engines(prompt(*range(1000, 1300), 7)) == {"one"}
    assert prefixes.engines(prompt(*range(3000, 3300))) == {"one", "two"}
    assert prefixes.engines(prompt(*range(3000, 3800))) == frozenset(), "128 tokens of 1000 are not worth it"


def test_a_key_goes_where_its_last_request_went_inside_a_namespace() -> None:
    prefixes = Prefixes(most=40)
    prefixes.note(replace(prompt(1), cache_key="k"), "one")
    prefixes.note(prompt(1), "two")
    assert prefixes.engines(replace(prompt(1), cache_key="k")) == {"one"}
    assert prefixes.engines(replace(job(prompt=(1, 2)), cache_key="k")) == {"one"}, "however short its prompt"
    assert prefixes.engines(replace(prompt(1), cache_key="other")) == {"one", "two"}, "by its beginning"
    assert prefixes.engines(replace(prompt(1, namespace=b"x" * 32), cache_key="k")) == frozenset()
    prefixes.note(replace(prompt(1), cache_key="k"), "two")
    assert prefixes.engines(replace(prompt(1), cache_key="k")) == {"two"}
    for at in range(60):
        prefixes.note(replace(job(prompt=(1,)), cache_key=f"key {at}"), "one")
    assert len(prefixes) == 40


def test_memory_is_bounded() -> None:
    prefixes = Prefixes(most=100)
    for at in range(200):
        prefixes.note(job(prompt=tuple(range(at, at + 128))), f"engine-{at % 7}")
        prefixes.note(prompt(1), f"engine-{at % 7}")
        assert len(prefixes) <= 100
    assert len(prefixes.engines(prompt(1))) == 4
    assert prefixes.engines(job(prompt=tuple(range(128)))) == frozenset(), "forgotten"


def test_a_warm_engine_is_preferred_until_it_is_too_busy() -> None:
    one, two = member("one"), member("two")
    model = job().model
    assert View([one, two], Promises()).aim(model, {"two"}).engines == {"two"}
    load(two, 6)
    assert View([one, two], Promises()).aim(model, {"two"}).engines == frozenset()
    assert View([two], Promises()).aim(model, {"two"}).engines == frozenset(), "there is no choice"


def test_among_engines_that_have_the_adapter() -> None:
    model = ResolvedModel("m", base(), "d", bytes(32))
    engines = [member("one", d=Tier.GPU), member("two", d=Tier.GPU), member("three")]
    assert View(engines, Promises()).aim(model, {"two", "three"}).engines == {"two"}
    assert View(engines, Promises()).aim(model, {"three"}).engines == {"one", "two"}
