"""Calls are read out of what models write, however it is cut into pieces."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.text.tools.formats import FORMATS
from chorus_gateway.text.tools.ids import short_call_id, shortened
from chorus_gateway.tools import Tool, ToolUse

DAYS = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
PLACE = {"city": {"type": "string"}, "days": DAYS, "name": {"type": ["string", "null"]}, "around": {"type": "object"}}
WEATHER = Tool("get_weather", {"type": "object", "properties": PLACE})
NOW = Tool("now", {"type": "object", "properties": {}})
USE = ToolUse((WEATHER, NOW), frozenset({"get_weather", "now"}))
Calls = Sequence[tuple[str, object]]

# format, what the model writes, the text and the calls in it
WRITTEN: list[tuple[str, str, str, Calls]] = [
    ("hermes", "The answer is 4.", "The answer is 4.", []),
    ("hermes", " 1 < 2 <tool> ", " 1 < 2 <tool> ", []),
    (
        "hermes",
        'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "São \\"Paulo\\" }{"}}\n</tool_call>',
        "I look.",
        [("get_weather", {"city": 'São "Paulo" }{'})],
    ),
    (
        "hermes",
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n<tool_call>\n{"arguments": {"city": "Rome"}, '
        '"name": "get_weather"}\n</tool_call>\nDone. All\n of it.',
        "Done. All\n of it.",
        [("now", {}), ("get_weather", {"city": "Rome"})],
    ),
    ("hermes", '<tool_call>{"name": "now"}</tool_call>', "", [("now", {})]),
    ("hermes", '<tool_call>{"name": "now", "arguments": null}\n', "", [("now", {})]),
    (
        "hermes",
        '<tool_call>{"id": 7, "name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>',
        "",
        [("get_weather", {"city": "Oslo"})],
    ),
    ("hermes", "<tool_call>[1, 2]</tool_call>", "<tool_call>[1, 2]", []),
    ("hermes", "Unfinished <tool_ca", "Unfinished <tool_ca", []),
    ("llama3", "It is warm.", "It is warm.", []),
    ("llama3", '{"answer": 4}', '{"answer": 4}', []),
    ("llama3", '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
    (
        "llama3",
        '\n{"name": "get_weather", "parameters": {"city": "Rome"}}',
        "",
        [("get_weather", {"city": "Rome"})],
    ),
    (
        "llama3",
        '<|python_tag|>{"type": "function", "name": "now", "parameters": {}}; {"name": "get_weather", "parameters": '
        '{"city": "Rome"}}',
        "",
        [("now", {}), ("get_weather", {"city": "Rome"})],
    ),
    ("mistral", "Hello [TOOL] there", "Hello [TOOL] there", []),
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "[Rome]"}}, {"name": "now", "arguments": {}}]',
        "",
        [("get_weather", {"city": "[Rome]"}), ("now", {})],
    ),
    (
        "mistral-args",
        'I look.[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}',
        "I look.",
        [("get_weather", {"city": "Rome"}), ("now", {})],
    ),
    (
        "qwen3-coder",
        'I look.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nSão "Paulo"\n <b>\n\n</parameter>\n'
        "<parameter=days>\n3\n"
        '</parameter>\n<parameter=around>\n{"km": [1]}\n</parameter>\n<parameter=name>\nnull\n</parameter>\n'
        "<parameter=odd>\n7\n</parameter>\n</function>\n</tool_call>\n",
        "I look.",
        [
            (
                "get_weather",
                {"city": 'São "Paulo"\n <b>\n', "days": 3, "around": {"km": [1]}, "name": None, "odd": "7"},
            )
        ],
    ),
    (
        "qwen3-coder",
        "<tool_call><function=now></function></tool_call><tool_call>\n<function=get_weather>\n<parameter=days>\nsoon\n"
        "</parameter>\n<parameter=name>7</parameter></function></tool_call>Done.",
        "Done.",
        [("now", {}), ("get_weather", {"days": "soon", "name": "7"})],
    ),
    ("qwen3-coder", "<tool_call>\n<func>now</func>", "<tool_call>\n<func>now</func>", []),
    ("qwen3-coder", "A <function=now> is text", "A <function=now> is text", []),
    ("mistral", '[TOOL_CALLS]now{"a": [1, {"b": 2}]}', "", [("now", {"a": [1, {"b": 2}]})]),
]


def read(name: str, pieces: Sequence[str]) -> tuple[str, list[tuple[str, str]], int]:
    """(text, calls with their arguments as written, calls that are whole)."""
    reader = FORMATS[name].reader(USE)
    text, calls = "", list[tuple[str, str]]()
    for part in (*(reader.feed(piece) for piece in pieces), reader.flush()):
        text += part.text
        for call in part.calls:
            assert bool(call.id) == bool(call.name) == (call.index == len(calls))
            if call.name:
                calls.append((call.name, ""))
            calls[call.index] = (calls[call.index][0], calls[call.index][1] + call.arguments)
    return text, calls, reader.called


@pytest.mark.parametrize(("name", "written", "text", "calls"), WRITTEN)
def test_whole_and_letter_by_letter(name: str, written: str, text: str, calls: Calls) -> None:
    for pieces in ([written], list(written), [written[:9], written[9:]]):
        said, called, whole = read(name, pieces)
        assert said.rstrip() == text.rstrip()
        assert [(tool, json.loads(arguments)) for tool, arguments in called] == list(calls)
        assert whole == len(calls)


@given(st.data())
def test_the_same_however_it_is_cut(data: st.DataObject) -> None:
    name, written, _, _ = data.draw(st.sampled_from(WRITTEN))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))
    pieces = [written[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert read(name, pieces) == read(name, [written])


PARTS = [
    *("<function=", "<function=now>", "<parameter=", "<parameter=city>", "</parameter>", "</function>", ">"),
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "{", "}", "[", "]", '"'),
    *(
        ",",
        ":",
        ";",
        " ",
        "\n",
        "name",
        '"name"',
        '"now"',
        "null",
        "1",
        "x",
        "\\",
        "now",
        '{"a":1}',
        '"arguments": "x"',
    ),
    *('{"name": "now", "arguments": {}}', '{"name": "now", "parameters": {"a": [1, "}"]}}'),
]


@given(st.sampled_from(sorted(FORMATS)), st.lists(st.sampled_from(PARTS), max_size=10).map("".join))
def test_nonsense_is_read_the_same_letter_by_letter(name: str, written: str) -> None:
    assert read(name, [written]) == read(name, list(written))


@given(st.sampled_from(sorted(FORMATS)), st.text(alphabet='<>[]{}"\\:,; \nna/|toolcTOLARGS_', max_size=60))
def test_any_text_is_read_to_its_end(name: str, written: str) -> None:
    """And where no call is, all of it is text."""
    said, calls, _ = read(name, list(written))
    if not calls and not any(marker in written for marker in FORMATS[name].markers):
        assert said == written


def test_arguments_stream_as_they_are_written() -> None:
    reader = FORMATS["hermes"].reader(USE)
    assert reader.feed('<tool_call>{"name": "get_weather", "argum').calls[0].name == "get_weather"
    assert [call.arguments for call in reader.feed('ents": {"ci').calls] == ['{"ci']
    assert [call.arguments for call in reader.feed('ty": "Rome').calls] == ['ty": "Rome']
    assert reader.called == 0
    assert [call.arguments for call in reader.feed('"}}\n').calls] == ['"}']
    assert reader.called == 1


def test_a_call_that_is_cut_off_stays_as_far_as_it_came() -> None:
    assert read("hermes", ['<tool_call>{"name": "get_weather", "arguments": {"ci']) == (
        "",
        [("get_weather", '{"ci')],
        0,
    )
    assert read("hermes", ['<tool_call>{"na']) == ('<tool_call>{"na', [], 0)


def test_short_ids_are_as_mistrals_templates_want_them() -> None:
    assert len(short_call_id()) == 9
    assert shortened("abcdefghi") == "abcdefghi"
    assert shortened("call_1") == shortened("call_1") != shortened("call_2")
    assert len(shortened("call_1")) == 9
