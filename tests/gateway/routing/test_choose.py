from chorus_gateway.routing.choose import Candidate, choose

GPU, HOST = {"d": "gpu"}, {"d": "host"}


def engine(open: int = 0, capacity: int = 8, tiers: dict[str, str] | None = None) -> Candidate:
    return Candidate(open, capacity, tiers or {})


def test_where_the_adapter_is_beats_load() -> None:
    engines = [engine(0), engine(5, tiers=HOST), engine(7, tiers=GPU)]
    assert choose(engines, "d") == 2
    assert choose(engines[:2], "d") == 1


def test_the_least_loaded_for_its_size() -> None:
    assert choose([engine(4, 8), engine(4, 16), engine(3, 4)], "d") == 1
    assert choose([engine(2, tiers=GPU), engine(1, tiers=GPU)], "d") == 1


def test_the_base_model_has_no_residency() -> None:
    assert choose([engine(1, tiers=GPU), engine(0)], None) == 1


def test_the_first_among_equals() -> None:
    assert choose([engine(), engine()], "d") == 0
