"""Builds the tokenizer: byte-level BPE whose merges all begin at the start of a word.

Every byte is a token. Merges grow from the space before a word (" t", " th", " the"), so frequent words are one token
while letters inside any other word stay letters, which is what tasks on letters need.
"""

import json
import random
import re
from collections import Counter
from pathlib import Path

from corpus import BEGIN, END, PAD, SPECIALS, documents
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 384
LONGEST_WORD = 5  # longer ones would fill the vocabulary with their beginnings
SPACE = "Ġ"  # how byte-level BPE writes a space
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] not in ['system', 'user', 'assistant'] %}
{{- raise_exception('Unknown role ' + message['role'] + ': use system, user or assistant.') }}
{%- endif %}
{{- '<|' + message['role'] + '|>' + message['content'] + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- endif %}
"""


def build() -> PreTrainedTokenizerFast:
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(VOCABULARY_SIZE - len(SPECIALS) - len(bytes_))
    tokens = [*SPECIALS, *bytes_, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, SPECIALS.index(BEGIN))]
    )
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=2048,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _merges(room: int) -> list[tuple[str, str]]:
    """Merges for every letter after a space, then for the corpus's most frequent words while there is room."""
    merges = [(SPACE, letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
    for word in _frequent_words():
        steps = [(SPACE + word[:end], word[end]) for end in range(len(word))]
        fresh = [step for step in steps if step not in merges]
        if len(merges) + len(fresh) > room:
            break
        merges += fresh
    spare = [(SPACE, letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" if (SPACE, letter) not in merges]
    return merges + spare[: room - len(merges)]


def _frequent_words() -> list[str]:
    rng = random.Random(0)
    text = " ".join(segment.text for document in documents(rng.randrange(2**32), 20_000) for segment in document)
    counts = Counter(re.findall(r"(?<= )[A-Za-z]?[a-z]+", text))
    frequent = [word for word, seen in counts.most_common() if 1 < len(word) <= LONGEST_WORD and seen > 100]
    return sorted(frequent, key=lambda word: (-counts[word] * len(word), word))


def save(folder: Path) -> PreTrainedTokenizerFast:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    tokenizer = build()
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that transformers before 5 know too
    path.write_text(json.dumps(config, indent=2) + "\n")
    return tokenizer
