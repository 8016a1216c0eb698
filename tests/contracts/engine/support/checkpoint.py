"""A tiny random Llama with a tokenizer, and adapters for it."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from chorus_engine.adapters import AdapterFiles
from tests.engine.oracle.support.checkpoints import AdapterShape, make_adapter, make_checkpoint

VOCAB_SIZE = 211
MAX_LEN = 1024


def make_served_checkpoint(folder: Path) -> None:
    make_checkpoint("llama", folder)
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate("abcdefgh")}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")


def make_files(checkpoint: Path, folder: Path, shape: AdapterShape) -> AdapterFiles:
    make_adapter(checkpoint, shape, folder)
    names = ("adapter_config.json", "adapter_model.safetensors")
    return AdapterFiles(*((folder / name).read_bytes() for name in names))
