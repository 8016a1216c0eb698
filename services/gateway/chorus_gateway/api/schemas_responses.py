"""/v1/responses, as clients send it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from chorus_gateway.api.responses_input import messages_of
from chorus_gateway.api.schema_types import Json, JsonObject, Text
from chorus_gateway.api.schemas import MAX_TOP_LOGPROBS, UNSUPPORTED, GenerationRequest
from chorus_gateway.api.schemas_batches import MAX_PAIRS, Key, Value
from chorus_gateway.api.schemas_tools import MAX_TOOLS, Function, tool_use
from chorus_gateway.ask import ChatPrompt
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.tools import ToolUse
from chorus_gateway.values import Constraint, ConstraintKind

LOGPROBS = "message.output_text.logprobs"
UNSUPPORTED_RESPONSES: Mapping[str, tuple[Any, ...]] = {
    **UNSUPPORTED,
    "use_beam_search": (False,),
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "prompt": (),
    "truncation": ("disabled",),
    "reasoning": ({}, {"effort": None}, {"effort": "none"}, {"effort": None, "summary": None}),
    "messages": (),
    "max_tokens": (),
    "modalities": (["text"],),
}


class Typed(BaseModel):
    type: Literal["function"]


class ResponseTool(Function, Typed):
    """Its type is looked at first."""


class TextFormat(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: Text | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class TextConfig(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = Field(None, description="Accepted and ignored.")


_ITEMS = {"type": "array", "items": {"type": "object"}, "minItems": 1}
Input = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, _ITEMS]})]


class ResponseRequest(GenerationRequest):
    """Nothing is kept: a conversation is sent whole each time."""

    input: Input
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, description="Absent: what the context leaves.")
    text: TextConfig | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    include: list[str] | None = Field(None, description=f"`{LOGPROBS}`; others are ignored.")
    tools: list[ResponseTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Json = Field(None, description="`none`, `auto`, `required`, or which function.")
    parallel_tool_calls: bool | None = None
    metadata: dict[Key, Value] | None = Field(None, max_length=MAX_PAIRS, description="Part of the answer.")
    safety_identifier: Text | None = Field(None, max_length=64, description="Accepted and ignored.")

    def prompt(self, use: ToolUse | None) -> ChatPrompt:
        tools = () if use is None else tuple(tool.for_template() for tool in use.tools)
        return ChatPrompt(messages_of(self.instructions, self.input), tools, field="input")

    def tool_use(self) -> ToolUse | None:
        return tool_use([tool.tool() for tool in self.tools or ()], self._choice(), self.parallel_tool_calls)

    def top(self) -> int | None:
        """Log probabilities wanted besides each token's own; None is none at all."""
        return (self.top_logprobs or 0) if LOGPROBS in (self.include or ()) else None

    def constraint(self) -> Constraint | None:
        asked, other = self._format(), super().constraint()
        if asked is not None and other is not None:
            raise InvalidRequest(
                f"{other.param}: the answer is bound by {asked.param} already: send one of them.", param=other.param
            )
        return asked or other

    def check(self, unsupported: Mapping[str, tuple[Any, ...]] = UNSUPPORTED_RESPONSES) -> None:
        super().check(unsupported)
        if (self.n or 1) > 1:
            raise InvalidRequest("n: a response is one answer: leave it out.", param="n")
        if self.response_format is not None:
            raise InvalidRequest("response_format: here it is text.format: send that.", param="response_format")
        if self.top_logprobs and self.top() is None:
            raise InvalidRequest(f"top_logprobs: only allowed when include has '{LOGPROBS}'.", param="top_logprobs")

    def _format(self) -> Constraint | None:
        wanted = None if self.text is None else self.text.format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return Constraint(ConstraintKind.JSON_OBJECT, param="text.format")
        if wanted.schema_ is None:
            raise InvalidRequest("text.format.schema: required with type 'json_schema'.", param="text.format.schema")
        return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(wanted.schema_), param="text.format.schema")

    def _choice(self) -> Any:
        """As chat completions have it."""
        match self.tool_choice:
            case {"type": "function", "name": str(name)}:
                return {"type": "function", "function": {"name": name}}
            case {"type": "allowed_tools", "mode": mode, "tools": tools}:
                return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
        return self.tool_choice
