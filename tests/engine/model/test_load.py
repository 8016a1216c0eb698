import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from chorus_engine.core.errors import StartError
from chorus_engine.core.spec import LinearModule
from chorus_engine.model import LoadedModel, load
from tests.engine.model.conftest import tensors

CPU = torch.device("cpu")


def load_it(folder: Path, **options: Any) -> LoadedModel:
    return load(folder, name="tiny", device=CPU, **options)


def test_describes_what_it_loaded(checkpoint: Path) -> None:
    model = load_it(checkpoint, max_model_len=100)
    spec = model.spec
    assert (spec.name, spec.architecture, spec.dtype, spec.num_layers) == ("tiny", "LlamaForCausalLM", "float32", 2)
    assert LinearModule("self_attn.k_proj", 16, 8) in spec.modules
    assert LinearModule("mlp.down_proj", 24, 16) in spec.modules
    assert len(spec.modules) == 7
    assert len(model.decoder.rotation) == 100
    assert len(spec.digest) == 64


def test_dtype_is_the_one_asked_for(checkpoint: Path) -> None:
    model = load_it(checkpoint, dtype="bfloat16")
    assert model.decoder.embedding.dtype == torch.bfloat16 == model.dtype
    assert model.spec.dtype == "bfloat16"


def test_shards_are_one_checkpoint(checkpoint: Path) -> None:
    whole = load_it(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    parts = {"a.safetensors": {}, "b.safetensors": {}}  # type: dict[str, dict[str, torch.Tensor]]
    for i, (name, tensor) in enumerate(tensors().items()):
        parts["ab"[i % 2] + ".safetensors"][name] = tensor
    for name, part in parts.items():
        save_file(part, checkpoint / name)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    sharded = load_it(checkpoint)
    assert torch.equal(sharded.decoder.embedding, whole.decoder.embedding)
    assert torch.equal(sharded.decoder.layers[1].mlp_norm, whole.decoder.layers[1].mlp_norm)
    (checkpoint / "b.safetensors").unlink()
    with pytest.raises(StartError, match=r"b\.safetensors does not exist"):
        load_it(checkpoint)


def change_missing(content: dict[str, torch.Tensor]) -> None:
    del content["model.layers.1.mlp.up_proj.weight"]


def change_shape(content: dict[str, torch.Tensor]) -> None:
    content["model.norm.weight"] = torch.ones(17)


def change_surplus(content: dict[str, torch.Tensor]) -> None:
    content["model.layers.0.self_attn.q_proj.bias"] = torch.ones(16)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (change_missing, r"no tensor model\.layers\.1\.mlp\.up_proj\.weight"),
        (change_shape, r"model\.norm\.weight .* is \[17\]; its config\.json makes it \[16\]"),
        (change_surplus, r"does not know: model\.layers\.0\.self_attn\.q_proj\.bias"),
    ],
)
def test_refuses_weights_that_do_not_fit(
    checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], None], sentence: str
) -> None:
    content = tensors()
    change(content)
    save_file(content, checkpoint / "model.safetensors")
    with pytest.raises(StartError, match=sentence):
        load_it(checkpoint)


def test_a_head_beside_a_tied_embedding_is_not_read(checkpoint: Path) -> None:
    save_file(tensors() | {"lm_head.weight": torch.ones(3)}, checkpoint / "model.safetensors")
    load_it(checkpoint)


def test_refuses_a_truncated_file(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(StartError, match="cannot be read"):
        load_it(checkpoint)


def test_refuses_settings_by_value(checkpoint: Path) -> None:
    with pytest.raises(StartError, match="dtype='int8'"):
        load_it(checkpoint, dtype="int8")
    with pytest.raises(StartError, match="load_format='pickle'"):
        load_it(checkpoint, load_format="pickle")
    with pytest.raises(StartError, match=r"max_model_len=129 .* 1 to 128"):
        load_it(checkpoint, max_model_len=129)


def test_dummy_weights_need_no_file_and_repeat(write: Callable[..., Path]) -> None:
    folder = write()
    one, same, other = (load_it(folder, load_format="dummy", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.decoder.embedding, same.decoder.embedding)
    assert not torch.equal(one.decoder.embedding, other.decoder.embedding)
    assert one.spec.digest == same.spec.digest != other.spec.digest
    with pytest.raises(StartError, match="load_format=dummy"):
        load_it(folder)
