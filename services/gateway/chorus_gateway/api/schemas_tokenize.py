"""/v1/tokenize and /v1/detokenize, as clients send them and as they are answered."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from chorus_gateway.api.schema_types import Text
from chorus_gateway.api.schemas_chat import Message, check_messages
from chorus_gateway.api.schemas_tools import MAX_TOOLS, ToolBody
from chorus_gateway.ask import ChatPrompt, Prompt
from chorus_gateway.errors import InvalidRequest

MAX_TOKENS = 1 << 20


def _token_ids(value: object) -> object:
    """In Python, where other threads get their turn: pydantic's own check of a million keeps them waiting."""
    if not isinstance(value, list):
        raise ValueError("must be a list of token ids")
    if len(value) > MAX_TOKENS:
        raise ValueError(f"may have at most {MAX_TOKENS} token ids and has {len(value)}")
    if not all(type(token) is int and 0 <= token < 1 << 32 for token in value):
        raise ValueError("must be a list of token ids, whole numbers from 0 to 4294967295")
    return value


TokenIds = Annotated[
    list[int],
    PlainValidator(_token_ids),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MAX_TOKENS}),
]


class TokenizeRequest(BaseModel):
    """Of `prompt` and `messages` one."""

    model_config = ConfigDict(strict=True, frozen=True)

    model: Text = Field(min_length=1, max_length=512)
    prompt: Text | None = None
    messages: list[Message] | None = Field(None, min_length=1, max_length=4096)
    tools: list[ToolBody] | None = Field(None, max_length=MAX_TOOLS, description="With `messages`.")
    add_special_tokens: bool = Field(True, description="Of a `prompt`: those that the tokenizer itself puts around it.")
    return_token_strs: bool | None = None

    @property
    def field(self) -> str:
        return "messages" if self.prompt is None else "prompt"

    def check(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise InvalidRequest("prompt: send either a prompt or messages.", param="prompt")
        check_messages(self.messages or ())

    def asked(self) -> Prompt:
        if self.prompt is not None:
            return self.prompt
        tools = tuple(tool.function.tool().for_template() for tool in self.tools or ())
        return ChatPrompt(tuple(message.for_template() for message in self.messages or ()), tools)


class Tokenized(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    model: Text = Field(min_length=1, max_length=512)
    tokens: TokenIds


class Detokenized(BaseModel):
    prompt: str
