"""Markers that are special tokens reach the reader, and no other special token does."""

import hashlib
import json

from tokenizers import AddedToken

from chorus_gateway.ask import ChatPrompt
from chorus_gateway.text.bundle import Bundle
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.text.tools.formats import format_of
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.tokenizers import tokenizer

MISTRAL = (
    "{%- for message in messages %}{%- if message.tool_calls %}[TOOL_CALLS][{%- for call in message.tool_calls %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{%- if call.id | length != 9 %}{{ raise_exception('an id must have nine letters') }}{%- endif %}{%- endfor %}]"
    "{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.tool_call_id }}: {{ message.content }}"
    "{%- else %}{{ message.content }}{%- endif %}{%- endfor %}{{ tools | length if tools else '' }}"
)
CALL = {"id": "call_0123456789", "type": "function", "function": {"name": "now", "arguments": {}}}


def made(template: str = MISTRAL, tool_format: str = "") -> ModelTokenizer:
    """The tests' tokenizer with Mistral's markers as special tokens."""
    marked = type(tokenizer()).from_str(tokenizer().to_str())
    marked.add_special_tokens([AddedToken(text, special=True) for text in ("[TOOL_CALLS]", "[TOOL_RESULTS]")])
    files = {"chat_template.jinja": template.encode(), "tokenizer.json": marked.to_str().encode()}
    bundle = pb.TokenizerBundle(files=[pb.TokenizerBundle.File(name=name, content=files[name]) for name in files])
    data = bundle.SerializeToString(deterministic=True)
    return ModelTokenizer(Bundle(hashlib.sha256(data).hexdigest(), data), tool_format)


async def test_special_markers_are_kept_for_the_reader_alone() -> None:
    model = made()
    ids = await model.encode('Héllo ☃[TOOL_CALLS] [{"name": "now"}]<|end|>', add_special_tokens=False)
    kept = model.detokenizer(ChatPrompt(()), (), skip_special_tokens=True, tools=True)
    assert "".join(map(kept.step, ids)) + kept.flush() == 'Héllo ☃[TOOL_CALLS] [{"name": "now"}]'
    plain = model.detokenizer(ChatPrompt(()), (), skip_special_tokens=True)
    assert "".join(map(plain.step, ids)) + plain.flush() == 'Héllo ☃ [{"name": "now"}]'


async def test_a_grammar_names_special_markers_by_their_token() -> None:
    model = made()
    [marker] = await model.encode("[TOOL_CALLS]", add_special_tokens=False)
    assert model.spell("[TOOL_CALLS]") == f"<[{marker}]>"
    assert model.spell("[ARGS]") == json.dumps("[ARGS]")


async def test_ids_of_calls_are_made_to_suit_mistrals_templates() -> None:
    model = made()
    messages = (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": CALL["id"], "content": "noon"},
    )
    text = await model.text_of(await model.encode(ChatPrompt(messages, ({"type": "function"},))))
    called, _, answered = text.partition("[TOOL_RESULTS]")
    assert json.loads(called.removeprefix("[TOOL_CALLS]"))[0]["id"] == answered[:9]
    assert answered[9:] == ": noon1"


def test_the_way_is_told_by_the_template_or_the_operator() -> None:
    assert made().tool_format.name == "mistral"
    assert made(tool_format="llama3").tool_format.name == "llama3"
    told = {
        "<tool_call>": "hermes",
        "<|python_tag|>": "llama3",
        "[TOOL_CALLS][ARGS]": "mistral",
        "{{ tools }}": "hermes",
    }
    assert {template: format_of(template).name for template in told} == told
    assert format_of(None).name == "hermes"
