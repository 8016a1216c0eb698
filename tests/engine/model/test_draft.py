import json
from pathlib import Path
from typing import Any

import pytest
import torch

from chorus_engine.core.errors import StartError
from chorus_engine.model import LoadedModel, load, load_draft

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}
VOCAB = {"a": 0, "b": 1}


def checkpoint(folder: Path, vocab: dict[str, int] | None = None, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    if vocab is not None:
        tokenizer = {"model": {"vocab": vocab}, "added_tokens": [{"id": 2, "content": "</s>", "special": True}]}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def served(tmp_path: Path) -> LoadedModel:
    folder = checkpoint(tmp_path / "served", VOCAB)
    return load(folder, name="served", device=torch.device("cpu"), dtype="bfloat16", load_format="dummy")


def test_it_is_as_the_model_served(served: LoadedModel, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "draft", VOCAB, num_hidden_layers=1, max_position_embeddings=128)
    draft = load_draft(folder, served, tmp_path / "served", load_format="dummy")
    assert (draft.dtype, draft.device, draft.spec.num_layers) == (served.dtype, served.device, 1)
    assert len(draft.decoder.rotation) == 64


@pytest.mark.parametrize(
    ("vocab", "changes", "reason"),
    [
        (VOCAB, {"vocab_size": 21}, "a vocabulary of 21 tokens and the model of 20"),
        ({"a": 1, "b": 0}, {}, "another tokenizer.json than the model"),
        (None, {}, "another tokenizer.json than the model"),
        (
            VOCAB,
            {"max_position_embeddings": 63},
            "63 tokens and requests may have 64; lower CHORUS_MAX_MODEL_LEN",
        ),
    ],
)
def test_another_vocabulary_or_a_shorter_context_is_refused(
    served: LoadedModel, tmp_path: Path, vocab: dict[str, int] | None, changes: dict[str, Any], reason: str
) -> None:
    folder = checkpoint(tmp_path / "draft", vocab, **changes)
    with pytest.raises(StartError, match=reason) as caught:
        load_draft(folder, served, tmp_path / "served", load_format="dummy")
    assert "CHORUS_DRAFT_MODEL" in str(caught.value)
