"""Which engine suits a request."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.routing.choose import Candidate, ceiling, choose, preferred
from tests.support.often import often

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.sampled_from("abcdefgh"),
        load=st.integers(0, 30),
        capacity=st.integers(1, 24),
        tier=st.sampled_from(Tier),
        free_slots=st.integers(0, 3),
        idle_slots=st.integers(0, 3),
        coming=st.integers(0, 3),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda engine: engine.id,
)


def engine(id: str, load: int = 0, tier: Tier = Tier.ABSENT, **fields: int) -> Candidate:
    return Candidate(id, load, fields.pop("capacity", 8), tier, **fields)


def best(engines: list[Candidate], adapter: str | None = "d") -> str:
    return choose(engines, adapter, limit_of(engines)).id


def limit_of(engines: list[Candidate]) -> float:
    return ceiling(sum(each.load for each in engines), sum(each.capacity for each in engines))


def waited_for(engines: list[Candidate]) -> list[Candidate]:
    holders = [each for each in engines if each.tier is not Tier.ABSENT]
    return preferred(holders, limit_of(engines))


def test_the_nearer_the_better() -> None:
    engines = [engine("host", 0, Tier.HOST), engine("gpu", 1, Tier.GPU), engine("loading", 1, Tier.LOADING)]
    assert best(engines) == "gpu"
    assert best([engines[0], engines[2]]) == "loading"
    assert best([engine("fetching", 0, Tier.FETCHING), engines[0]]) == "host"
    assert best([engine("fetching", 5, Tier.FETCHING), engine("idle")]) == "fetching"


def test_a_slot_that_is_free_then_one_that_is_idle() -> None:
    full, idle, free = engine("full"), engine("idle", idle_slots=2), engine("free", free_slots=1, idle_slots=1)
    assert best([full, idle, free]) == "free"
    assert best([full, idle]) == "idle"
    assert best([full, idle, engine("promised", free_slots=1, coming=1)]) == "idle"


def test_a_hot_adapter_spreads() -> None:
    hot = [engine("gpu", 3, Tier.GPU), engine("other", 0)]
    assert waited_for(hot) == []
    assert best(hot) == "other"
    both = [engine("gpu", 5, Tier.GPU), engine("host", 0, Tier.HOST), engine("none", 0)]
    assert [each.id for each in waited_for(both)] == ["host"]


def test_when_all_are_as_busy_nothing_is_given_up() -> None:
    busy = [engine("gpu", 8, Tier.GPU), engine("other", 8)]
    assert [each.id for each in waited_for(busy)] == ["gpu"]
    assert best(busy) == "gpu"


def test_an_adapter_on_its_way_is_waited_for_whatever_the_load() -> None:
    assert [each.id for each in waited_for([engine("one", 8, Tier.FETCHING), engine("two", 0)])] == ["one"]


def test_the_base_model_goes_where_the_least_is_to_do_for_the_size() -> None:
    engines = [engine("a", 4), engine("b", 4, capacity=16), engine("c", 3, Tier.GPU, capacity=4, free_slots=5)]
    assert best(engines, None) == "b"


def test_a_second_engine_that_fetches_is_no_more_than_one_that_has_it() -> None:
    assert [each.id for each in waited_for([engine("gpu", 1, Tier.GPU), engine("fetching", 0, Tier.FETCHING)])] == [
        "gpu"
    ]
    assert waited_for([engine("gpu", 7, Tier.GPU), engine("fetching", 7, Tier.FETCHING), engine("none", 0)]) == []


def test_gateways_agree_and_adapters_spread() -> None:
    engines = [engine(id, free_slots=4) for id in ("one", "two", "three")]
    chosen = [best(engines, f"adapter-{at}") for at in range(60)]
    assert chosen == [best(engines[::-1], f"adapter-{at}") for at in range(60)]
    assert min(chosen.count(id) for id in ("one", "two", "three")) > 8


@settings(deadline=None)
@given(CANDIDATES)
def test_one_is_always_below_the_ceiling(engines: list[Candidate]) -> None:
    assert any(each.share < limit_of(engines) for each in engines)


@settings(deadline=None)
@given(CANDIDATES)
def test_what_is_preferred_has_the_adapter_nearest_and_is_not_too_busy(engines: list[Candidate]) -> None:
    chosen, limit = waited_for(engines), limit_of(engines)
    on_its_way = all(each.tier <= Tier.FETCHING for each in engines)
    assert all(each.tier is not Tier.ABSENT and (on_its_way or each.share < limit) for each in chosen)
    nearest = chosen[0].tier if chosen else Tier.ABSENT
    assert all(each.tier < nearest or not each.tier for each in engines if each not in chosen and each.share < limit)


@settings(deadline=None)
@given(CANDIDATES)
def test_who_is_preferred_is_chosen_when_it_can_take_the_request(engines: list[Candidate]) -> None:
    nearest = waited_for(engines)
    assume(nearest)
    assert choose(engines, "d", limit_of(engines)) in nearest


@settings(deadline=None)
@given(CANDIDATES, st.one_of(st.none(), st.just("d")))
def test_the_order_of_the_engines_says_nothing(engines: list[Candidate], adapter: str | None) -> None:
    limit = limit_of(engines)
    assert choose(engines, adapter, limit) == choose(engines[::-1], adapter, limit)


@settings(deadline=None, max_examples=often(30))
@given(CANDIDATES, st.integers(1, 3))
def test_the_load_that_affinity_can_pile_up_is_bounded(engines: list[Candidate], more: int) -> None:
    """However many requests of one adapter come, one at a time to who is preferred or chosen, none is far above the
    mean."""
    engines = [
        Candidate(each.id, 0, each.capacity, Tier.GPU if at == 0 else each.tier) for at, each in enumerate(engines)
    ]
    engines = [each if each.tier is not Tier.FETCHING else Candidate(each.id, 0, each.capacity) for each in engines]
    for _ in range(more * sum(each.capacity for each in engines)):
        limit = limit_of(engines)
        chosen = choose(waited_for(engines) or engines, "d", limit)
        at = engines.index(chosen)
        engines[at] = Candidate(chosen.id, chosen.load + 1, chosen.capacity, chosen.tier)
        assert chosen.share < limit
