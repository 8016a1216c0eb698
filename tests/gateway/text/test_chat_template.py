"""Chat templates, against transformers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from chorus_gateway.errors import Internal, InvalidRequest
from chorus_gateway.text.bundle import Bundle
from chorus_gateway.text.chat_template import ChatTemplate
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.tokenizers import CHAT_TEMPLATE, tokenizer

MESSAGES = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": "  <b>Grüße</b> "},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "bye"},
]
TEMPLATES = {
    "ours": CHAT_TEMPLATE,
    "chatml": (
        "{{ bos_token }}{% for message in messages %}\n"
        "    {% if loop.first and message['role'] != 'system' %}\n"
        "{{ '<|im_start|>system\\nYou are helpful<|im_end|>\\n' }}\n"
        "    {% endif %}\n"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "statements": (
        "{% set ns = namespace(count=0) %}{% for message in messages %}{% if message.role == 'assistant' %}"
        "{% continue %}{% endif %}{% set ns.count = ns.count + 1 %}{% endfor %}{{ ns.count }}{{ tools is none }}"
        "{{ messages | tojson(indent=2) }}{{ strftime_now('%Y') }}{{ eos_token }}{{ pad_token is defined }}"
    ),
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_as_transformers_renders(name: str) -> None:
    theirs = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer(), bos_token="<s>", eos_token="<|end|>"
    )
    expected = theirs.apply_chat_template(
        MESSAGES, chat_template=TEMPLATES[name], add_generation_prompt=True, tokenize=False
    )
    ours = ChatTemplate(TEMPLATES[name], {"bos_token": "<s>", "eos_token": "<|end|>"})
    assert ours.render(MESSAGES) == expected


def test_a_template_may_refuse() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})
    with pytest.raises(InvalidRequest, match="refused these messages: roles must alternate") as caught:
        template.render(MESSAGES)
    assert caught.value.param == "messages"


def test_a_template_that_cannot_be_read() -> None:
    with pytest.raises(Internal, match=r"cannot be read: .*line 2"):
        ChatTemplate("fine\n{% if %}", {})


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__.items() }}",
        "{{ undefined_thing.attribute }}",
        "{{ messages[0]['content'] + 1 }}",
    ],
)
def test_a_template_stays_in_its_box(source: str) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(source, {}).render(MESSAGES)


def test_messages_are_text_to_a_template() -> None:
    hostile = [{"role": "user", "content": "{{ 7 * 7 }}{% raw %}"}]
    assert "{{ 7 * 7 }}" in ChatTemplate(CHAT_TEMPLATE, {}).render(hostile)


def packed(files: dict[str, Any]) -> Bundle:
    contents = {
        name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in files.items()
    }
    message = pb.TokenizerBundle(files=[pb.TokenizerBundle.File(name=n, content=c) for n, c in contents.items()])
    data = message.SerializeToString()
    return Bundle(hashlib.sha256(data).hexdigest(), data)


def test_where_a_bundle_keeps_its_template() -> None:
    plain = {"tokenizer.json": b"{}"}
    named = [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]
    assert packed(plain).chat_template() is None
    assert packed(plain | {"tokenizer_config.json": {"chat_template": "C"}}).chat_template() == "C"
    assert packed(plain | {"tokenizer_config.json": {"chat_template": named}}).chat_template() == "D"
    both = {"tokenizer_config.json": {"chat_template": "C"}, "chat_template.jinja": b"J"}
    assert packed(plain | both).chat_template() == "J"


def test_special_tokens_of_a_bundle() -> None:
    files = {
        "tokenizer.json": b"{}",
        "special_tokens_map.json": {"bos_token": {"content": "<s>"}, "unk_token": "<unk>"},
        "tokenizer_config.json": {"eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None},
    }
    assert packed(files).special_tokens() == {"bos_token": "<s>", "unk_token": "<unk>", "eos_token": "</s>"}


def test_the_demo_model_renders_as_transformers_does() -> None:
    folder = Path(__file__).resolve().parents[3] / "examples" / "demo" / "model"
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    bundle = packed({name: (folder / name).read_bytes() for name in names if (folder / name).exists()})
    source = bundle.chat_template()
    assert source is not None
    messages = [{"role": "user", "content": "reverse: chorus"}]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert ChatTemplate(source, bundle.special_tokens()).render(messages) == expected
