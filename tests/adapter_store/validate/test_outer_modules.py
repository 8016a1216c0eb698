"""LoRA outside the layers against its base: what does not fit is refused by name."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import EMBEDDING, HEAD, AdapterFacts, BaseSpec
from tests.adapter_store.support import BASE, WHOLE_BASE, Upload

HEAD_A, HEAD_B = (f"base_model.model.lm_head.lora_{side}.weight" for side in "AB")
EMBEDDING_A, EMBEDDING_B = (f"base_model.model.model.embed_tokens.lora_embedding_{side}" for side in "AB")
BOTH = Upload(
    {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens", "lm_head"]},
    {
        HEAD_A: np.ones((4, 32), np.float32),
        HEAD_B: np.ones((128, 4), np.float32),
        EMBEDDING_A: np.ones((4, 128), np.float32),
        EMBEDDING_B: np.ones((32, 4), np.float32),
    },
)


def check(upload: Upload, folder: Path, base: BaseSpec = WHOLE_BASE) -> AdapterFacts:
    return check_adapter(*upload.write(folder), base, Limits())


def test_both_are_told_by_name(tmp_path: Path) -> None:
    assert check(BOTH, tmp_path) == AdapterFacts(rank=4, modules=(EMBEDDING, HEAD))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        (HEAD_B, (127, 4), "lora_B of lm_head has shape [127, 4]; the base needs [128, 4]"),
        (HEAD_A, (5, 32), "lora_A of lm_head has rank 5, but adapter_config.json gives this module rank 4"),
        (EMBEDDING_A, (128, 4), "lora_A of embed_tokens has shape [128, 4]; the base needs [4, 128]"),
        (EMBEDDING_B, None, "embed_tokens has no lora_B"),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(
    tmp_path: Path, name: str, shape: tuple[int, int] | None, words: str
) -> None:
    tensors = {key: value for key, value in BOTH.tensors.items() if key != name}
    if shape is not None:
        tensors[name] = np.ones(shape, np.float32)
    with pytest.raises(InvalidArgument) as caught:
        check(Upload(BOTH.config, tensors), tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["lm_head"], "tensors for 'embed_tokens', which target_modules in adapter_config.json leaves out"),
        (["lm_head", "embed_tokens", "q_proj"], "layers.0.self_attn.q_proj has no lora_A and no lora_B"),
        ("all-linear", "which target_modules in adapter_config.json leaves out"),
        (["lm_head", "head"], "'head', which is no module of base 'demo'; it has self_attn.q_proj"),
    ],
)
def test_targets_and_tensors_must_agree(tmp_path: Path, targets: object, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(BOTH.with_config(target_modules=targets), tmp_path)
    assert words in str(caught.value)


def test_tying_brings_the_other_where_the_file_has_it(tmp_path: Path) -> None:
    tied = BOTH.with_config(target_modules=["lm_head"], ensure_weight_tying=True)
    assert set(check(tied, tmp_path).modules) == {EMBEDDING, HEAD}
    head = {name: value for name, value in BOTH.tensors.items() if "lm_head" in name}
    assert check(Upload(tied.config, head), tmp_path).modules == (HEAD,)
    with pytest.raises(InvalidArgument, match="ensure_weight_tying is 'yes'"):
        check(tied.with_config(ensure_weight_tying="yes"), tmp_path)


def test_a_base_that_is_served_without_them_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="embed_tokens, and base 'demo' is served without LoRA on it"):
        check(BOTH, tmp_path, BASE)


def test_a_base_that_was_stored_before_there_were_such_modules_reads_as_without() -> None:
    stored = asdict(WHOLE_BASE)
    assert BaseSpec.of(stored) == WHOLE_BASE
    del stored["outer_modules"]
    assert BaseSpec.of(stored) == BASE
