from tests.cli.conftest import Chorus, Gateway


def test_engines_are_listed_and_drained(chorus: Chorus, gateway: Gateway) -> None:
    engine = gateway.doubles.engine.description.engine_id
    assert engine in [row[0] for row in chorus("engines", "list").rows]
    assert chorus("engines", "drain", engine).status == 0
    assert chorus("engines", "undrain", engine).status == 0
