from chorus_gateway.routing.promises import Promises


def test_one_engine_an_adapter_until_it_lapses() -> None:
    now = [0.0]
    promises = Promises(lambda: now[0])
    promises.note("d", "one", 5.0)
    promises.note("e", "one", 1.0)
    assert (promises.engine("d"), promises.engine("unknown"), promises.count("one")) == ("one", None, 2)
    promises.note("d", "two", 2.0)
    assert (promises.engine("d"), promises.count("one"), promises.count("two")) == ("two", 1, 1)
    now[0] = 1.5
    assert (promises.engine("e"), promises.count("one"), len(promises)) == (None, 0, 1)
    now[0] = 2.0
    assert (promises.engine("d"), len(promises)) == (None, 0)
    promises.note("d", "one", 1.0)
    promises.forget("d")
    promises.forget("d")
    promises.note("d", "one", 3.0)
    now[0] = 3.5
    assert (promises.engine("d"), promises.count("one")) == ("one", 1), "the first one's end is not this one's"
