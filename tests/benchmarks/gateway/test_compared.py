from benchmarks.figures import Figure
from benchmarks.gateway.compared import Run, at_pace, latencies, rates, streamed
from benchmarks.gateway.native import Load, Spread


def load(rate: float = 100.0, *, p50: float = 0.001, p99: float = 0.002, tokens: int = 0, events: int = 0) -> Load:
    spread = Spread(mean=p50, p50=p50, p90=p99, p99=p99, max=p99)
    return Load(10.0, int(10 * rate), 0, tokens, events, 0, 1.0, 0.0, spread, spread)


def values(figures: list[Figure]) -> dict[str, float]:
    return {figure.name: figure.value for figure in figures}


def test_without_another_gateway_there_is_nothing_to_compare() -> None:
    assert len(rates([Run("ours", load(1200), 5.0)])) == 2


def test_rates_are_compared() -> None:
    found = rates([Run("ours", load(1200), 5.0), Run("theirs", load(100), 5.0)])
    assert values(found)["requests/s over those of theirs"] == 12
    assert all(figure.holds is not False for figure in found)


def test_what_is_added_is_beyond_what_the_stub_takes_at_the_same_pace() -> None:
    ours = [(load(p50=0.0025, p99=0.010), load(p50=0.001, p99=0.002))]
    theirs = [(load(p50=0.016), load(p50=0.001))]
    found = values(latencies([ours, theirs]))
    assert round(found["added latency at 70% of its most, p50"], 6) == 1.5
    assert round(found["added latency at 70% of its most, p99"], 6) == 8.0
    assert round(found["added latency, p50, as a share of LiteLLM's, each at 70% of its most"], 6) == 0.1


def test_at_a_given_pace_the_run_that_was_disturbed_least_counts() -> None:
    calm, disturbed = load(p50=0.003, p99=0.006), load(p50=0.002, p99=0.060)
    past = load(p50=0.001, p99=0.002)
    found = at_pace([disturbed, calm], past, 700.0, other=20.0)
    told = {figure.name.partition(", ")[2]: (round(figure.value, 6), figure.holds) for figure in found}
    assert told == {"p50": (2.0, True), "p99": (4.0, True), "p50, as a share of LiteLLM's": (0.1, True)}
    assert len(at_pace([calm], past, 700.0)) == 2
    assert all(figure.holds is None for figure in at_pace([calm], past, 100.0, other=20.0))


def test_tokens_that_share_an_event_are_told() -> None:
    alone, half = load(10, tokens=1000, events=1300), load(10, tokens=1000, events=800)
    found = [values(streamed([Run("ours", each, 1.0)], offered=1.0)) for each in (alone, half)]
    name = "streamed tokens that came with another one in an event"
    assert [each[name] for each in found] == [0.0, 0.5]
