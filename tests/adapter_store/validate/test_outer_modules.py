"""LoRA outside the layers against its base: what does not fit is refused by name."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import EMBEDDING, HEAD, AdapterFacts, BaseSpec
from tests.adapter_store.support import BASE, WHOLE_BASE, Array, Tensors, Upload

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


HEAD_MATRIX = "base_model.model.lm_head.base_layer.weight"
EMBEDDING_MATRIX = "base_model.model.model.embed_tokens.base_layer.weight"
MATRIX = np.random.default_rng(0).normal(size=(128, 32)).astype(np.float32)


def knowing(**digests: str) -> BaseSpec:
    """A base whose engines told the digests of its embedding and head, by dtype."""
    return replace(WHOLE_BASE, outer_modules=tuple(replace(m, weight_sha256=digests) for m in WHOLE_BASE.outer_modules))


def sha256(matrix: Array) -> str:
    return hashlib.sha256(matrix.tobytes()).hexdigest()


TOLD = knowing(F32=sha256(MATRIX), F16=sha256(MATRIX.astype(np.float16)))


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


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "names", [[HEAD_MATRIX], [EMBEDDING_MATRIX, HEAD_MATRIX], ["base_model.model.lm_head.weight", HEAD_MATRIX]]
)
def test_matrices_that_are_the_bases_own_count_for_nothing(tmp_path: Path, names: list[str], dtype: type) -> None:
    own: Tensors = dict.fromkeys(names, MATRIX.astype(dtype))
    assert check(Upload(BOTH.config, BOTH.tensors | own), tmp_path, TOLD) == check(BOTH, tmp_path)


def test_values_of_the_bases_own_need_not_be_finite(tmp_path: Path) -> None:
    endless = np.full((128, 32), np.inf, np.float16)
    upload = Upload(BOTH.config, BOTH.tensors | {HEAD_MATRIX: endless})
    assert check(upload, tmp_path, knowing(F16=sha256(endless))).rank == 4


RESIZED = np.concatenate([MATRIX, MATRIX[:4]])
OTHER = MATRIX.copy()
OTHER[127, 31] = np.nextafter(OTHER[127, 31], np.float32(9))


@pytest.mark.parametrize(
    ("name", "matrix", "base", "words"),
    [
        (HEAD_MATRIX, OTHER, TOLD, "differs from base 'demo', whose vocabulary is shared"),
        (HEAD_MATRIX, OTHER, TOLD, "train LoRA on lm_head instead, or use save_pretrained(..., save_embedding_layers="),
        (EMBEDDING_MATRIX, OTHER, TOLD, "train LoRA on embed_tokens instead"),
        (EMBEDDING_MATRIX, np.ascontiguousarray(MATRIX[::-1]), TOLD, "differs from base 'demo'"),
        (HEAD_MATRIX, RESIZED, TOLD, "has shape [132, 32], but lm_head of base 'demo' has [128, 32]"),
        (EMBEDDING_MATRIX, MATRIX.reshape(32, 128), TOLD, "has shape [32, 128], but embed_tokens of base 'demo' has"),
        (HEAD_MATRIX, MATRIX.astype(np.int8), TOLD, "has dtype 'I8'; allowed are F32, F16, BF16"),
        (HEAD_MATRIX, MATRIX.astype(np.float16), knowing(F32=sha256(MATRIX)), "is a whole matrix of the base"),
        (HEAD_MATRIX, MATRIX, WHOLE_BASE, "need not be saved; use save_pretrained(..., save_embedding_layers=False)"),
        ("base_model.model.lm_head.base_layer.bias", MATRIX, TOLD, "is a bias, which this version does not support"),
    ],
)
def test_matrices_that_are_not_the_bases_own_are_refused_by_name(
    tmp_path: Path, name: str, matrix: Array, base: BaseSpec, words: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(Upload(BOTH.config, BOTH.tensors | {name: matrix}), tmp_path, base)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_the_limit_of_bytes_is_for_what_is_not_the_bases_own(tmp_path: Path) -> None:
    own = Upload(BOTH.config, BOTH.tensors | {HEAD_MATRIX: MATRIX, EMBEDDING_MATRIX: MATRIX})
    _, weights = own.write(tmp_path)
    limits = Limits(max_weights_bytes=weights.stat().st_size - 2 * MATRIX.nbytes)
    assert check_adapter(*own.write(tmp_path), TOLD, limits).rank == 4
    with pytest.raises(InvalidArgument, match="more than the"):
        check_adapter(*own.write(tmp_path), WHOLE_BASE, limits)


def test_a_base_that_was_stored_before_there_were_such_modules_reads_as_without() -> None:
    stored = json.loads(json.dumps(asdict(TOLD)))
    assert BaseSpec.of(stored) == TOLD
    for module in stored["outer_modules"]:
        del module["weight_sha256"]
    assert BaseSpec.of(stored) == WHOLE_BASE
    del stored["outer_modules"]
    assert BaseSpec.of(stored) == BASE
