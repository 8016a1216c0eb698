"""One upload against its base: what is accepted, and the sentence for each thing that is not."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate import Limits, check_adapter
from chorus_adapter_store.values import AdapterFacts
from tests.adapter_store.support import BASE, Upload, make_upload, tensor_name

LIMITS = Limits(max_rank=16, pattern_seconds=0.3)


def check(upload: Upload, folder: Path, limits: Limits = LIMITS) -> AdapterFacts:
    return check_adapter(*upload.write(folder), BASE, limits)


def refusal(upload: Upload, folder: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidArgument) as caught:
        check(upload, folder, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_upload_tells_its_rank_and_modules(tmp_path: Path) -> None:
    assert check(make_upload(), tmp_path) == AdapterFacts(
        rank=4,
        modules=(
            "layers.0.self_attn.q_proj",
            "layers.0.self_attn.v_proj",
            "layers.1.self_attn.q_proj",
            "layers.1.self_attn.v_proj",
        ),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_projection_and_dtype_is_accepted(tmp_path: Path, dtype: type) -> None:
    names = [module.path.rpartition(".")[2] for module in BASE.modules]
    assert len(check(make_upload(*names, dtype=dtype), tmp_path).modules) == 14


@pytest.mark.parametrize(
    "targets",
    [
        r"model\.layers\.\d+\.self_attn\.(q|v)_proj",
        ".*[qv]_proj",
        ["self_attn.q_proj", "v_proj"],
        ["model.layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "v_proj"],
    ],
)
def test_targets_are_understood_as_peft_does(tmp_path: Path, targets: object) -> None:
    assert len(check(make_upload(target_modules=targets), tmp_path).modules) == 4


def test_layers_to_transform_limits_the_layers(tmp_path: Path) -> None:
    upload = make_upload("q_proj", layers_to_transform=[1], layers_pattern="layers")
    only = {name: value for name, value in upload.tensors.items() if ".layers.1." in name}
    assert check(Upload(upload.config, only), tmp_path).modules == ("layers.1.self_attn.q_proj",)
    assert "leaves out" in refusal(upload, tmp_path)


def test_exclude_modules_takes_modules_away(tmp_path: Path) -> None:
    upload = make_upload("q_proj", target_modules=["q_proj", "k_proj"], exclude_modules=["k_proj"])
    assert len(check(upload, tmp_path).modules) == 2


@pytest.mark.parametrize(
    "pattern", ["q_proj", r".*\.q_proj", "self_attn.q_proj", "^model.layers.\\d.self_attn.q_proj$"]
)
def test_rank_pattern_gives_modules_their_own_rank(tmp_path: Path, pattern: str) -> None:
    wide, narrow = make_upload("q_proj", rank=8), make_upload("v_proj", rank=4)
    config = {**narrow.config, "target_modules": ["q_proj", "v_proj"], "rank_pattern": {pattern: 8}}
    upload = Upload({**config, "alpha_pattern": {pattern: 3.5}}, {**wide.tensors, **narrow.tensors})
    assert check(upload, tmp_path).rank == 8
    assert "has rank 8, but adapter_config.json gives this module rank 4" in refusal(
        upload.with_config(rank_pattern={}), tmp_path
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3': only LORA is supported"),
        ({"use_dora": True}, "use_dora is True: DoRA is not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']: fully trained modules"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is [1]: trained or added tokens"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        (
            {"auto_map": {"AutoModel": "evil.py"}},
            "auto_map is {'AutoModel': 'evil.py'}: code in an adapter is never run",
        ),
        ({"target_parameters": ["w"]}, "target_parameters"),
        ({"some_new_field": {"a": 1}}, "some_new_field is {'a': 1}: this field is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"r": 17}, "r is 17: the largest rank allowed is 16"),
        ({"r": 0}, "r is 0: a rank is a whole number from 1 to 16"),
        ({"r": "4"}, "r is '4'"),
        ({"r": True}, "r is True"),
        ({"r": 8}, "has rank 4, but adapter_config.json gives this module rank 8"),
        ({"lora_alpha": 0}, "lora_alpha is 0: use a number other than 0"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": "16"}, "lora_alpha is '16'"),
        ({"lora_alpha": 10**400}, "lora_alpha is 1000"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"target_modules": None}, "target_modules is None: name at least one module"),
        ({"target_modules": []}, "target_modules is []: name at least one module"),
        ({"target_modules": [1]}, "target_modules is [1]"),
        ({"target_modules": ["q_proj", "c_attn"]}, "target_modules has 'c_attn', which is no module of base 'demo'"),
        (
            {"target_modules": ["q_proj", "lm_head"]},
            "target_modules reaches lm_head, and base 'demo' is served without LoRA on it",
        ),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "target_modules reaches embed_tokens"),
        ({"target_modules": ".*(q_proj|lm_head)"}, "target_modules reaches lm_head"),
        ({"target_modules": "transformer.h.*"}, "matches no module of base 'demo'; it has self_attn.q_proj"),
        ({"target_modules": "q_proj["}, "not a regular expression"),
        ({"target_modules": "([a-z._0-9]|[a-z])*[A-Z.]{3}"}, "more than 0.3 s"),
        ({"target_modules": "a" * 2000}, "2000 characters, more than the 1024 allowed"),
        (
            {"target_modules": ["q_proj"]},
            "'layers.0.self_attn.v_proj', which target_modules in adapter_config.json leaves",
        ),
        ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, "layers.0.self_attn.o_proj has no lora_A and no lora_B"),
        ({"layers_to_transform": [2]}, "layers_to_transform has 2, but base 'demo' has 2 layers, 0 to 1"),
        ({"layers_to_transform": ["0"]}, "layers_to_transform is ['0']"),
        ({"layers_to_transform": [0], "target_modules": ".*q_proj"}, "needs target_modules to be a list"),
        ({"layers_to_transform": [0], "layers_pattern": "blocks"}, "matches no module"),
        ({"rank_pattern": {"q_proj": 32}}, "rank_pattern['q_proj'] is 32: the largest rank allowed is 16"),
        ({"rank_pattern": [1]}, "rank_pattern is [1]"),
        ({"rank_pattern": {"(.*a)+b": 4}}, "keys are module names of at most 200 characters"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern['q_proj'] is None"),
        ({"alpha_pattern": {".*.*.*q": 1}}, "at most 2 of '*' or '+'"),
    ],
)
def test_a_wrong_or_unsupported_config_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    assert words in refusal(make_upload().with_config(**changes), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers__0__self_attn__q_proj__lora_B__weight": None}, "layers.0.self_attn.q_proj has no lora_B"),
        (
            {"layers__1__self_attn__q_proj__lora_A__weight": np.ones((4, 48), np.float32)},
            "lora_A of layers.1.self_attn.q_proj has shape [4, 48]; the base needs [4, 32]",
        ),
        (
            {"layers__1__self_attn__v_proj__lora_B__weight": np.ones((16, 6), np.float32)},
            "lora_B of layers.1.self_attn.v_proj has rank 6, but adapter_config.json gives this module rank 4",
        ),
        ({"layers__0__self_attn__q_proj__lora_A__weight": np.ones((128,), np.float32)}, "has shape [128]"),
        (
            {"layers__0__self_attn__q_proj__lora_A__weight": np.full((4, 32), math.inf, np.float32)},
            "has a NaN or an infinity at element 0",
        ),
        (
            {"layers__0__self_attn__q_proj__lora_A__weight": np.r_[np.ones(127), math.nan].reshape(4, 32).astype("f2")},
            "has a NaN or an infinity at element 127",
        ),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(tmp_path: Path, changes: dict[str, np.ndarray], words: str) -> None:
    assert words in refusal(make_upload().with_tensors(**changes), tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("base_model.model.lm_head.lora_A.weight", "tensors for 'lm_head', which is no module of base 'demo'"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "tensors for 'embed_tokens', which is no module of"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "a bias"),
        ("base_model.model.model.norm.modules_to_save.weight", "a fully trained module"),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
            "is not named as PEFT names LoRA weights",
        ),
        (tensor_name(2, "self_attn.q_proj", "A"), "no module of base 'demo' (2 layers)"),
        ("../../../etc/cron.d/evil", "tensor '../../../etc/cron.d/evil' is not named as PEFT names LoRA weights"),
        (tensor_name(0, "../self_attn.q_proj", "A"), "is not named as PEFT names LoRA weights"),
        (tensor_name(0, "self_attn.q_proj", "A") + "\x00", "is not named as PEFT names LoRA weights"),
        (tensor_name(0, "self_attn.q_proj", "A") + "\n", "is not named as PEFT names LoRA weights"),
        ("/".join(["a"] * 2000), "…"),
        (tensor_name(0, "self_attn.c_proj", "A"), "no module of base 'demo'"),
    ],
)
def test_a_tensor_that_does_not_belong_is_refused_by_name(tmp_path: Path, name: str, words: str) -> None:
    upload = make_upload()
    extra = {**upload.tensors, name: np.ones((4, 32), np.float32)}
    assert words in refusal(Upload(upload.config, extra), tmp_path)


def test_bfloat16_is_checked_by_its_own_exponent(tmp_path: Path) -> None:
    """0x7F00 is finite in bfloat16; read as float16 it would be a NaN."""
    for bits, good in ((0x7F00, True), (0x7F80, False), (0xFFC1, False)):
        config, weights = make_upload("q_proj", dtype=np.float16).write(tmp_path)
        content = weights.read_bytes()
        header = int.from_bytes(content[:8], "little") + 8
        values = np.frombuffer(content[header:], np.uint16).copy()
        values[-1] = bits
        weights.write_bytes(content[:header].replace(b'"F16"', b'"BF16"', 99).ljust(0) + values.tobytes())
        text = weights.read_bytes()[8 : -values.nbytes].rstrip()
        weights.write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())
        if good:
            assert check_adapter(config, weights, BASE, LIMITS).rank == 4
        else:
            with pytest.raises(InvalidArgument, match="has a NaN or an infinity at element 127"):
                check_adapter(config, weights, BASE, LIMITS)


def test_sizes_are_limited(tmp_path: Path) -> None:
    assert "more than the 10 allowed" in refusal(make_upload(), tmp_path, Limits(max_config_bytes=10))
    assert "more than the 100 allowed" in refusal(make_upload(), tmp_path, Limits(max_weights_bytes=100))
    config, weights = make_upload().write(tmp_path)
    weights.write_bytes(b"")
    with pytest.raises(InvalidArgument, match=r"adapter_model\.safetensors: the file is empty"):
        check_adapter(config, weights, BASE, LIMITS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "holds a JSON array, not an object"),
        (b"{", "not valid JSON"),
        (b'{"r": 4, "r": 8}', "'r' appears twice"),
        (b'{"r": Infinity}', "Infinity is not JSON"),
        (json.dumps({"a": [[[[[[[[[1]]]]]]]]]}).encode(), "nested more than"),
        (b'{"a":' + b"[" * 200_000, "nested more than"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"peft_type": "\xff"}', "not UTF-8"),
        (b'{"peft_type": "\\ud800"}', r"peft_type is '\ud800'"),
        (b'{"r": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"peft_type": "LORA", "r": 1e999}', "r is inf"),
        (b'{"r": -Infinity}', "-Infinity is not JSON"),
        (b'{"peft_type": "LORA", "' + b"a" * 100_000 + b'": 1}', "this field is not supported"),
        (b'{"peft_type": "LORA", "../../x": "../../../etc/passwd"}', "'../../x' is '../../../etc/passwd'"),
        (b'{"peft_type": "LORA", "a\\nb": 1}', r"'a\nb' is 1: this field is not supported"),
        (b'{"peft_type": "LORA", "trust_remote_code": true}', "trust_remote_code is True: this field is not supported"),
        (
            json.dumps({f"f{index}": 0 for index in range(5000)}).encode(),
            "has 5000 entries, more than the 4096 allowed",
        ),
        (b"\x80\x04.", "not UTF-8"),
        (b"null", "holds a JSON null"),
    ],
)
def test_a_config_that_is_not_plain_json_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    config, weights = make_upload().write(tmp_path)
    config.write_bytes(content)
    with pytest.raises(InvalidArgument) as caught:
        check_adapter(config, weights, BASE, LIMITS)
    assert words in str(caught.value)
    assert str(caught.value).startswith("adapter_config.json: ")
    assert str(caught.value).isascii() or "…" in str(caught.value)
    assert len(str(caught.value)) < 400
