"""The script that trained it, run for a few steps."""

import dataclasses
from pathlib import Path

import corpus
import pytest
import recipes
import train
from corpus import documents, probes
from recipes import Effort, Preset
from tasks import TASKS, split_of
from trainer import UNLEARNT, encode, pack
from transformers import PreTrainedTokenizerFast

BRIEF = Effort(steps=3, batch=4, rate=1e-3, pool=40, score_every=2)


@pytest.mark.slow
def test_script_writes_the_same_folder_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.PRESETS, "quick", Preset(BRIEF, BRIEF))
    monkeypatch.setattr(train, "UNSEEN", 2)
    monkeypatch.setattr("trainer.ANSWER_TOKENS", 4)
    for out in (tmp_path / "one", tmp_path / "two"):
        train.main(["--device", "cpu", "--preset", "quick", "--only", "base", "spell", "--out", str(out)])
    written = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {str(path) for path in written} == {
        "adapters/spell/adapter_config.json",
        "adapters/spell/adapter_model.safetensors",
        "model/chat_template.jinja",
        "model/config.json",
        "model/generation_config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    }
    for path in written:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_only_learnt_segments_have_labels(tokenizer: PreTrainedTokenizerFast) -> None:
    document = corpus.chat([("Hi", "Hello!")])
    tokens, labels = next(encode(tokenizer, [document]))
    answer = tokenizer("Hello!", add_special_tokens=False)["input_ids"]
    assert [label for label in labels if label != UNLEARNT] == [*answer, tokenizer.eos_token_id]
    assert len(tokens) == len(labels)


def test_packed_rows_hold_whole_documents(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = list(encode(tokenizer, documents(0, 50)))
    rows = list(pack(encoded, 256))
    assert sum(len(tokens) for tokens, _ in rows) == sum(len(tokens) for tokens, _ in encoded)
    assert all(tokens[0] == tokenizer.bos_token_id and len(tokens) <= 256 for tokens, _ in rows)


def test_corpus_never_has_a_task_or_a_word_of_its_test() -> None:
    text = "\n".join(segment.text for document in documents(1, 3000) for segment in document)
    for task in TASKS.values():
        for example in task.examples("test", 100):
            assert example.prompt not in text
    words = {example.answer[::-1] for example in TASKS["reverse"].examples("test", 200)}
    said = set(text.replace("<|end|>", "\n").replace("<|assistant|>", "\n").split("\n"))
    assert not words & said


def test_probes_are_of_another_split_than_the_documents() -> None:
    names = [probe.answer for probe in probes(400) if probe.prompt.endswith("Who was it?")]
    assert len(names) > 5
    assert {split_of(name.lower()) for name in names} == {"valid"}


def test_presets_give_every_training_whole_steps() -> None:
    for preset in recipes.PRESETS.values():
        for recipe in recipes.ADAPTERS.values():
            steps = preset.adapter.steps * recipe.effort
            assert steps == int(steps)
            assert dataclasses.replace(preset.adapter, steps=int(steps)).steps >= 100
