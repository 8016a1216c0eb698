"""Where the base model comes from: a folder, or the hub, whose client is the real one with its network off."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._paths import filter_repo_objects

from chorus_engine import checkpoint
from chorus_engine.core.errors import StartError


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert checkpoint.locate(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("model", ["/no/such/folder", "./none", "~/none-here", "a b/c", "one/two/three"])
def test_what_can_be_no_hub_id_is_no_folder(model: str) -> None:
    with pytest.raises(StartError, match="is no folder; give a checkpoint's folder or a hub id"):
        checkpoint.locate(model)


def test_offline_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StartError, match=r"no-such/model' is no folder here, and the hub cannot be reached") as raised:
        checkpoint.locate("no-such/model")
    assert "\n" not in str(raised.value)


def test_weights_are_downloaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def download(_: str, **patterns: Any) -> str:
        asked.update(patterns)
        return str(tmp_path)

    monkeypatch.setattr(checkpoint, "snapshot_download", download)
    assert checkpoint.locate("some/model") == tmp_path
    kept = ["config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "chat_template.jinja"]
    left = ["consolidated.safetensors", "original/params.json", "onnx/model.safetensors", "pytorch_model.bin"]
    assert list(filter_repo_objects([*kept, *left], **asked)) == kept
