"""What a model may call instead of answering, and what it calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tool:
    name: str  # 1 to 128 of a-z A-Z 0-9 _ -
    parameters: Mapping[str, Any]  # JSON Schema of an object
    description: str = ""
    strict: bool = False  # its arguments must keep to the schema, also where the model chooses to call it

    def for_template(self) -> dict[str, Any]:
        """As chat templates take it: OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Tools that a request's answers may call; there is one at least."""

    tools: tuple[Tool, ...]
    allowed: frozenset[str]  # names of those that may be called
    required: bool = False  # one of them must be
    parallel: bool = True  # one answer may make several calls

    @property
    def callable(self) -> tuple[Tool, ...]:
        return tuple(tool for tool in self.tools if tool.name in self.allowed)


@dataclass(frozen=True, slots=True)
class CallPiece:
    """News of one call. The first has `id` and `name`; the arguments of all, joined, are JSON once it is whole.

    `at`: characters of the text that it came with which stand before it.
    """

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""
    at: int = 0
