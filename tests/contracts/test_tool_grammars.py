"""What the grammars of tools let a model write is what their readers read: calls that keep to their tools' schemas."""

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chorus_gateway.text.tools.formats import FORMATS, ToolFormat
from chorus_gateway.text.tools.grammar import lark
from chorus_gateway.tools import Tool, ToolUse

llguidance = pytest.importorskip("llguidance")

CITY = {"type": "string", "enum": ["Rome", 'São "Paulo"', "{"]}
TOOLS = (
    Tool(
        "get_weather",
        {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city"],
            "$defs": {"city": CITY},
        },
    ),
    Tool("now", {"type": "object", "properties": {}}),
)
USE = ToolUse(TOOLS, frozenset(tool.name for tool in TOOLS))
SCHEMAS: dict[str, Any] = {tool.name: {**tool.parameters, "additionalProperties": False} for tool in TOOLS}
MODEL = Path(__file__).parents[2] / "examples/demo/model"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return llguidance.LLTokenizer((MODEL / "tokenizer.json").read_text())


def calls_of(form: ToolFormat, written: str) -> tuple[str, list[tuple[str, Any]]]:
    reader = form.reader(USE)
    parts = [reader.feed(written), reader.flush()]
    pieces = [call for part in parts for call in part.calls]
    names = [call.name for call in pieces if call.id]
    arguments = ["".join(call.arguments for call in pieces if call.index == at) for at in range(len(names))]
    return "".join(part.text for part in parts), list(zip(names, map(json.loads, arguments), strict=True))


def drawn(tokenizer: Any, grammar: str, draw: random.Random) -> str:
    """A text that the grammar allows, to its end, by tokens that it allows."""
    matcher = llguidance.LLMatcher(tokenizer, grammar)
    assert not matcher.is_error(), matcher.get_error()
    tokens: list[int] = []
    while not matcher.is_stopped() and not (matcher.is_accepting() and draw.random() < 0.5):
        bits = matcher.compute_bitmask()
        allowed = [at for at in range(tokenizer.vocab_size) if bits[at // 8] >> (at % 8) & 1]
        if tokenizer.eos_token in allowed:
            allowed.remove(tokenizer.eos_token)
        tokens.append(draw.choice(allowed))
        assert matcher.consume_token(tokens[-1])
    text: str = tokenizer.decode_str(tokens)
    return text


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("parallel", [False, True])
def test_a_required_call_is_always_read(tokenizer: Any, name: str, parallel: bool) -> None:
    form = FORMATS[name]
    grammar = lark("calls", *form.calls(TOOLS, json.dumps, parallel=parallel))
    draw = random.Random(7)
    for _ in range(10):
        text, calls = calls_of(form, drawn(tokenizer, grammar, draw))
        assert text == ""
        assert len(calls) == 1 if not parallel else calls
        for tool, arguments in calls:
            jsonschema.validate(arguments, SCHEMAS[tool])


@pytest.mark.parametrize("name", FORMATS)
def test_any_text_or_a_call_that_keeps_to_its_schema(tokenizer: Any, name: str) -> None:
    form = FORMATS[name]
    grammar = form.free(TOOLS, json.dumps)
    call = drawn(tokenizer, lark("calls", *form.calls(TOOLS[:1], json.dumps, parallel=False)), random.Random(3))
    for text in ("", "Hello {there} <tool", call, f"Well. {call}", "1 < 2"):
        assert accepts(tokenizer, grammar, text), text
    assert not accepts(tokenizer, grammar, call.replace("city", "town"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_or_an_answer_in_json(tokenizer: Any, name: str) -> None:
    form = FORMATS[name]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    calls = form.calls(TOOLS, json.dumps, parallel=True)
    grammar = lark("calls | answer", *calls, f"answer: %json {json.dumps(schema)}")
    call = drawn(tokenizer, lark("calls", *calls), random.Random(5))
    assert accepts(tokenizer, grammar, call)
    assert accepts(tokenizer, grammar, '{"a": 3}')
    assert not accepts(tokenizer, grammar, '{"b": 3}')
    assert not accepts(tokenizer, grammar, "Hello")


def accepts(tokenizer: Any, grammar: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(tokenizer, grammar)
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())
