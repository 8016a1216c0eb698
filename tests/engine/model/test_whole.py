"""Digests of a base's own embedding and head, against torch's casts of the checkpoint."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from chorus_engine.core.spec import EMBEDDING, HEAD
from chorus_engine.model import load
from chorus_engine.model.digest import file_key, forget
from chorus_engine.model.whole import CHUNK, Digests, WholeDigests, hash_values
from tests.engine.model.conftest import tensors

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def reference(tensor: Tensor, dtype: torch.dtype) -> str:
    return hashlib.sha256(tensor.to(dtype).contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


def expected(tensor: Tensor) -> dict[str, str]:
    return {name: reference(tensor, dtype) for name, dtype in DTYPES.items()}


def digests(folder: Path, *, tied: bool = True, cache: Path | None = None) -> Digests:
    return WholeDigests(folder, tied=tied, cache=cache).result()


@pytest.mark.parametrize("cast", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_casts_are_torchs_to_the_last_bit(stored: str, cast: str) -> None:
    torch.set_num_threads(1)
    values = torch.randn(CHUNK + 5, generator=torch.Generator().manual_seed(0)) * 0.02
    # Ties, numbers that only the wider type has, subnormal ones, and those that become infinite.
    odd = [1 + 2**-9, 1 + 3 * 2**-9, 1 + 2**-11, 65519.9, 65520.0, 3.4e38, 2**-14, 2**-24, 2**-25, 1e-40, -0.0, -1e-7]
    values[: len(odd)] = torch.tensor(odd)
    tensor = values.to(DTYPES[stored])
    bits = tensor.view(torch.int16 if tensor.itemsize == 2 else torch.int32).numpy()
    assert hash_values(bits, stored, cast) == reference(tensor, DTYPES[cast])


def test_a_tied_head_is_the_embedding(checkpoint: Path) -> None:
    embedding = expected(tensors()["model.embed_tokens.weight"])
    assert digests(checkpoint) == {EMBEDDING: embedding, HEAD: embedding}
    assert digests(checkpoint, tied=False) == {EMBEDDING: embedding}, "the checkpoint has no head of its own"


def test_shards_may_hold_them_in_their_own_dtypes(checkpoint: Path) -> None:
    head = torch.randn(50, 16).to(torch.bfloat16)
    (checkpoint / "model.safetensors").unlink()
    save_file(tensors(), checkpoint / "a.safetensors")
    save_file({"lm_head.weight": head}, checkpoint / "b.safetensors")
    files = dict.fromkeys(tensors(), "a.safetensors") | {"lm_head.weight": "b.safetensors"}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert digests(checkpoint, tied=False) == {
        EMBEDDING: expected(tensors()["model.embed_tokens.weight"]),
        HEAD: expected(head),
    }


def test_a_dtype_that_no_adapter_may_have_has_none(checkpoint: Path) -> None:
    wide = tensors() | {"model.embed_tokens.weight": torch.zeros(50, 16, dtype=torch.float64)}
    save_file(wide, checkpoint / "model.safetensors")
    assert digests(checkpoint) == {EMBEDDING: {}, HEAD: {}}


def test_the_cache_spares_the_reading_until_the_file_is_forgotten(checkpoint: Path, tmp_path: Path) -> None:
    cache, weights = tmp_path / "cache" / "digests.json", checkpoint / "model.safetensors"
    first = digests(checkpoint, cache=cache)
    known = json.loads(cache.read_text())
    assert {key.partition("#")[0] for key in known} == {file_key(weights)}
    cache.write_text(json.dumps(dict.fromkeys(known, "0" * 64) | {"another": "1" * 64}))
    assert set(digests(checkpoint, cache=cache)[HEAD].values()) == {"0" * 64}
    forget(cache, file_key(weights))
    assert json.loads(cache.read_text()) == {"another": "1" * 64}
    assert digests(checkpoint, cache=cache) == first
    assert json.loads(cache.read_text()) == known | {"another": "1" * 64}


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: b"none"])
def test_what_cannot_be_read_is_the_loaders_to_tell(checkpoint: Path, damage: Callable[[bytes], bytes]) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    assert digests(checkpoint) == {}


def test_computed_where_modules_outside_the_layers_are_served(checkpoint: Path) -> None:
    cpu = torch.device("cpu")
    served = load(checkpoint, name="tiny", device=cpu, outer_lora=True)
    assert served.whole is not None
    assert served.whole.result() == digests(checkpoint)
    for options in ({"outer_lora": False}, {"outer_lora": True, "load_format": "dummy"}):
        assert load(checkpoint, name="tiny", device=cpu, **options).whole is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("whole-")]
