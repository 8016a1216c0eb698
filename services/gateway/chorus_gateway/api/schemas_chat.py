"""/v1/chat/completions, as clients send it and as they are answered."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from chorus_gateway.api.schema_types import Text, whole
from chorus_gateway.api.schemas import MAX_TOP_LOGPROBS, UNSUPPORTED
from chorus_gateway.api.schemas_beams import BeamRequest
from chorus_gateway.api.schemas_tools import MAX_TOOLS, Call, CallView, ToolBody, tool_use
from chorus_gateway.api.schemas_usage import UsageView
from chorus_gateway.ask import ChatPrompt
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.tools import ToolUse

UNSUPPORTED_CHAT: Mapping[str, tuple[Any, ...]] = {
    **UNSUPPORTED,
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "echo": (False,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "documents": ([],),
}


def _text(value: object) -> object:
    """A list of text parts as one text."""
    if isinstance(value, str):
        return whole(value)
    if value is None:
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of text parts")
    return "\n".join(_part_text(at, part) for at, part in enumerate(value))


def _part_text(at: int, part: object) -> str:
    if not isinstance(part, Mapping):
        raise ValueError(f"part {at} must be an object with a type")
    if part.get("type") != "text":
        raise ValueError(f"part {at} has type {str(part.get('type'))[:64]!r}, and only 'text' is supported")
    if not isinstance(part.get("text"), str):
        raise ValueError(f"part {at} must have a text")
    return whole(part["text"])


Content = Annotated[
    str | None,
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type", "text"],
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                    },
                },
                {"type": "null"},
            ]
        }
    ),
]


class Message(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    name: Text | None = Field(None, max_length=256)
    tool_calls: list[Call] | None = Field(None, max_length=MAX_TOOLS)
    tool_call_id: Text | None = Field(None, max_length=128)
    function_call: Any = None

    def check(self, at: int) -> None:
        where = f"messages.{at}"
        if self.role == "function" or self.function_call:
            raise InvalidRequest(
                f"{where}: functions are not supported in their older form: send tools and their calls.", param=where
            )
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(f"{where}.tool_calls: only an assistant's message has them.", param=where)
        if self.content is None and not self.tool_calls:
            raise InvalidRequest(
                f"{where}.content: must be a string or a list of text parts.", param=f"{where}.content"
            )

    def for_template(self) -> dict[str, Any]:
        # Templates know the instructions' role by its older name.
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or ""}
        if self.tool_calls:
            message["tool_calls"] = [call.for_template() for call in self.tool_calls]
        if self.role == "tool":
            message["tool_call_id"] = self.tool_call_id
        return message if self.name is None else {**message, "name": self.name}


def check_messages(messages: Sequence[Message]) -> None:
    """InvalidRequest for what no single field can tell. A tool's answer is to a call that was made before it."""
    made: set[str] = set()
    for at, message in enumerate(messages):
        message.check(at)
        made.update(call.id for call in message.tool_calls or ())
        if message.role == "tool" and message.tool_call_id not in made:
            raise InvalidRequest(
                f"messages.{at}.tool_call_id: a message of the role 'tool' must name a call that an assistant's message"
                " before it made.",
                param=f"messages.{at}.tool_call_id",
            )


class ChatRequest(BeamRequest):
    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(None, ge=1, description="Absent: what the context leaves.")
    max_tokens: int | None = Field(None, ge=1, description="The older name of max_completion_tokens.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    tools: list[ToolBody] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Any = Field(None, description="`none`, `auto`, `required`, or which function.")
    parallel_tool_calls: bool | None = None

    def prompt(self, use: ToolUse | None) -> ChatPrompt:
        tools = () if use is None else tuple(tool.for_template() for tool in use.tools)
        return ChatPrompt(tuple(message.for_template() for message in self.messages), tools)

    def tool_use(self) -> ToolUse | None:
        """InvalidRequest when what may be called and how do not fit together."""
        tools = [tool.function.tool() for tool in self.tools or ()]
        return tool_use(tools, self.tool_choice, self.parallel_tool_calls)

    def top(self) -> int | None:
        """Log probabilities wanted besides each token's own; None is none at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self, unsupported: Mapping[str, tuple[Any, ...]] = UNSUPPORTED_CHAT) -> None:
        super().check(unsupported)
        check_messages(self.messages)
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")


class TopLogprobView(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class LogprobView(TopLogprobView):
    top_logprobs: list[TopLogprobView]


class ChatLogprobs(BaseModel):
    content: list[LogprobView]
    refusal: None = None


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None


class CallingMessage(ChatMessage):
    tool_calls: list[CallView]


class ChatChoice(BaseModel):
    index: int
    message: CallingMessage | ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageView
    service_tier: str
    system_fingerprint: str
