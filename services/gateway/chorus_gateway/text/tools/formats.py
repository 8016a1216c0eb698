"""Which way of calling tools a model was trained in."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chorus_gateway.text.tools.grammar import Spell
from chorus_gateway.text.tools.hermes import OPEN, Hermes
from chorus_gateway.text.tools.llama3 import TAG, Llama3
from chorus_gateway.text.tools.mistral import ARGS, CALLS, Mistral
from chorus_gateway.text.tools.qwen_coder import QwenCoder
from chorus_gateway.text.tools.reader import CallReader
from chorus_gateway.text.tools.xml_scanner import FUNCTION
from chorus_gateway.tools import Tool, ToolUse


class ToolFormat(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def markers(self) -> Sequence[str]:
        """Texts that readers must see though they may be special tokens."""
        ...

    def reader(self, use: ToolUse) -> CallReader: ...

    def calls(self, tools: Sequence[Tool], spell: Spell, *, parallel: bool) -> list[str]:
        """Rules of `calls`: one of any of the tools, or several if `parallel`."""
        ...

    def free(self, tools: Sequence[Tool], spell: Spell) -> str:
        """A grammar of any text with calls of the tools in it, or of a text or such calls."""
        ...


FORMATS: Mapping[str, ToolFormat] = {
    "hermes": Hermes(),
    "llama3": Llama3(),
    "mistral": Mistral(),
    "mistral-args": Mistral(named=True),
    "qwen3-coder": QwenCoder(),
}


def format_of(template: str | None) -> ToolFormat:
    """Told by what the chat template writes. Hermes' where it knows of no tools: that needs no special tokens."""
    source = template or ""
    if CALLS in source:
        return FORMATS["mistral-args" if ARGS in source else "mistral"]
    if OPEN in source:
        return FORMATS["qwen3-coder" if FUNCTION in source else "hermes"]
    if TAG in source or '"parameters": ' in source:
        return FORMATS["llama3"]
    return FORMATS["hermes"]
