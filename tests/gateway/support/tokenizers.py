"""A byte-level tokenizer small enough to be built in a test."""

import json
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from chorus_proto.engine.v1 import engine_pb2 as pb

CHAT_TEMPLATE = (
    "{%- for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{%- endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{%- endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
END = 0  # the id of <|end|>
_CORPUS = ["hello world, this is a small corpus of words", "the quick brown fox jumps over the lazy dog"] * 4


@cache
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_CORPUS, trainer)
    return made


def bundle(*, template: str | None = CHAT_TEMPLATE, padding: int = 0) -> bytes:
    """A serialized TokenizerBundle; `padding` more bytes make it large."""
    config = {"eos_token": "<|end|>", "bos_token": None}
    files = {"tokenizer.json": tokenizer().to_str().encode(), "tokenizer_config.json": json.dumps(config).encode()}
    if template is not None:
        files["chat_template.jinja"] = template.encode()
    if padding:
        files["generation_config.json"] = b'{"pad": "' + b"x" * padding + b'"}'
    message = pb.TokenizerBundle(
        files=[pb.TokenizerBundle.File(name=name, content=files[name]) for name in sorted(files)]
    )
    return message.SerializeToString(deterministic=True)


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False).ids)
