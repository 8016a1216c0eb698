"""Tools, as clients send them and as their calls are answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chorus_gateway.api.schema_types import JsonObject, Text, sound
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.tools import Tool, ToolUse

MAX_TOOLS = 128
NAME = r"^[a-zA-Z0-9_-]{1,128}$"
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def _of_object(parameters: dict[str, Any]) -> dict[str, Any]:
    kinds = parameters.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise ValueError(f"must be the schema of an object, and its type is {json.dumps(kinds)[:64]}")
    return parameters


class Function(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    name: str = Field(pattern=NAME)
    description: Text | None = None
    parameters: Annotated[JsonObject, AfterValidator(_of_object)] | None = Field(
        None, description="A JSON Schema of an object; absent: no parameters."
    )
    strict: bool | None = Field(None, description="Calls keep to the schema.")

    def tool(self) -> Tool:
        return Tool(self.name, self.parameters or NO_PARAMETERS, self.description or "", bool(self.strict))


class ToolBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    type: Literal["function"]
    function: Function


class CallFunction(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    name: Text = Field(min_length=1, max_length=128)
    arguments: Text = Field(description="JSON")


class Call(BaseModel):
    """An earlier answer's, sent back."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: Text = Field(min_length=1, max_length=128)
    type: Literal["function"]
    function: CallFunction

    def for_template(self) -> dict[str, Any]:
        """Templates write the arguments themselves, as JSON."""
        function = {"name": self.function.name, "arguments": read_arguments(self.function.arguments)}
        return {"id": self.id, "type": self.type, "function": function}


def read_arguments(arguments: str) -> Any:
    """What is no object is shown as it came: it may be an answer that was cut off."""
    try:
        read = sound(json.loads(arguments or "{}"))
    except (ValueError, RecursionError):
        return arguments
    return read if isinstance(read, dict) else arguments


def tool_use(tools: Sequence[Tool], choice: Any, parallel: bool | None) -> ToolUse | None:
    """None where nothing may be called. `choice` as chat completions have it; InvalidRequest names what is wrong."""
    if not tools:
        if choice in (None, "none", "auto"):
            return None
        raise InvalidRequest("tool_choice: only allowed with tools.", param="tool_choice")
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"tools: {twice!r} is there twice: give each its own name.", param="tools")
    mode, allowed = _choice(choice, names)
    if mode == "none":
        return None
    return ToolUse(tuple(tools), frozenset(allowed), mode == "required", parallel is not False)


def _choice(choice: Any, names: Sequence[str]) -> tuple[str, Sequence[str]]:
    """("none", "auto" or "required", names of what may be called)."""
    match choice:
        case None:
            return "auto", names
        case "none" | "auto" | "required":
            return choice, names
        case {"type": "function", "function": {"name": str(name)}}:
            return "required", [_known(name, names)]
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [_, *_] as tools},
        }:
            return mode, [_known(_name(tool), names) for tool in tools]
    raise InvalidRequest(
        'tool_choice: must be \'none\', \'auto\', \'required\', {"type": "function", "function": {"name": …}}, or'
        ' {"type": "allowed_tools", "allowed_tools": {"mode": …, "tools": […]}}.',
        param="tool_choice",
    )


def _name(tool: Any) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return name
    raise InvalidRequest("tool_choice: each of its tools must be a function with a name.", param="tool_choice")


def _known(name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise InvalidRequest(f"tool_choice: {name[:128]!r} is none of the tools.", param="tool_choice")
    return name


class CalledFunction(BaseModel):
    name: str
    arguments: str


class CallView(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
