from pathlib import Path

from chorus_engine.model.digest import base_digest


def digest(folder: Path, cache: Path | None = None) -> str:
    return base_digest(folder / "config.json", [folder / "model.safetensors"], cache).value


def test_is_of_config_and_weights(checkpoint: Path) -> None:
    first = digest(checkpoint)
    assert first == digest(checkpoint)
    config, weights = checkpoint / "config.json", checkpoint / "model.safetensors"
    config.write_text(config.read_text() + " ")
    second = digest(checkpoint)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert len({first, second, digest(checkpoint)}) == 3


def test_cache_spares_the_reading(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "digests.json"
    first = digest(checkpoint, cache)
    known = cache.read_text()
    cache.write_text(known.replace(known.split('": "')[1][:8], "00000000"))
    assert digest(checkpoint, cache) != first  # taken from the cache as it stands
    cache.write_text("no JSON")
    assert digest(checkpoint, cache) == first
    assert cache.read_text() == known


def test_cache_knows_a_changed_file(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "digests.json"
    first = digest(checkpoint, cache)
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    assert digest(checkpoint, cache) != first


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert digest(checkpoint, tmp_path / "file" / "digests.json") == digest(checkpoint)
