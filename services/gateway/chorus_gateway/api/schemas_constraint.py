"""Fields that say what an answer must be: OpenAI's `response_format`, and what other servers have beside it."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from chorus_gateway.api.schema_types import JsonObject, Text, sound, whole
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import Constraint, ConstraintKind

MAX_SOURCE = 1 << 18  # characters
MAX_CHOICES = 4096


def _schema_or_text(value: object) -> object:
    if isinstance(value, dict):
        return sound(value)
    if not isinstance(value, str):
        raise ValueError("must be a JSON Schema, as an object or its text")
    return whole(value)


Schema = Annotated[
    dict[str, Any] | str,
    BeforeValidator(_schema_or_text),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "string"}]}),
]
Source = Annotated[Text, Field(min_length=1, max_length=MAX_SOURCE)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)]


class JsonSchemaFormat(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: Text | None = None
    schema_: JsonObject | None = Field(None, alias="schema", description="Absent: any JSON object.")
    strict: bool | None = Field(None, description="The answer keeps to the schema either way.")


class ResponseFormat(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = Field(None, description="With `json_schema`, and only there.")


class StructuredOutputs(BaseModel):
    """One of them. What is not named here is refused, since leaving it aside would change the answer."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    json_: Schema | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: Source | None = None
    choice: Texts | None = None
    grammar: Source | None = None


class ConstrainedRequest(BaseModel):
    response_format: ResponseFormat | None = None
    guided_json: Schema | None = Field(None, description="A JSON Schema.")
    guided_regex: Source | None = Field(None, description="Of the whole answer; no look-around, no references.")
    guided_choice: Texts | None = Field(None, description="The answer is one of these.")
    guided_grammar: Source | None = Field(None, description="In llguidance's dialect of Lark.")
    structured_outputs: StructuredOutputs | None = None

    def constraint(self) -> Constraint | None:
        """What the answer must be. InvalidRequest for two of them, and for what is too large."""
        asked = [*_of_format(self.response_format), *self._guided(), *_of_structured(self.structured_outputs)]
        if len(asked) > 1:
            raise InvalidRequest(
                f"{asked[1].param}: the answer is bound by {asked[0].param} already: send one of them.",
                param=asked[1].param,
            )
        for constraint in asked:
            _check_size(constraint)
        return asked[0] if asked else None

    def _guided(self) -> Iterator[Constraint]:
        yield from _schema(self.guided_json, "guided_json")
        yield from _source(ConstraintKind.REGEX, self.guided_regex, "guided_regex")
        yield from _choice(self.guided_choice, "guided_choice")
        yield from _source(ConstraintKind.LARK, self.guided_grammar, "guided_grammar")


def _of_format(given: ResponseFormat | None) -> Iterator[Constraint]:
    if given is None:
        return
    if (given.type == "json_schema") != (given.json_schema is not None):
        missing = given.json_schema is None
        raise InvalidRequest(
            f"response_format.json_schema: {'required' if missing else 'only allowed'} with type 'json_schema'.",
            param="response_format.json_schema",
        )
    if given.json_schema is not None and given.json_schema.schema_ is not None:
        yield from _schema(given.json_schema.schema_, "response_format.json_schema.schema")
    elif given.type != "text":
        yield Constraint(ConstraintKind.JSON_OBJECT, param="response_format")


def _of_structured(given: StructuredOutputs | None) -> Iterator[Constraint]:
    if given is None:
        return
    yield from _schema(given.json_, "structured_outputs.json")
    if given.json_object:
        yield Constraint(ConstraintKind.JSON_OBJECT, param="structured_outputs.json_object")
    yield from _source(ConstraintKind.REGEX, given.regex, "structured_outputs.regex")
    yield from _choice(given.choice, "structured_outputs.choice")
    yield from _source(ConstraintKind.LARK, given.grammar, "structured_outputs.grammar")


def _schema(schema: dict[str, Any] | str | None, param: str) -> Iterator[Constraint]:
    if schema is not None:
        source = schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))
        yield Constraint(ConstraintKind.JSON_SCHEMA, source, param=param)


def _source(kind: ConstraintKind, source: str | None, param: str) -> Iterator[Constraint]:
    if source is not None:
        yield Constraint(kind, source, param=param)


def _choice(texts: list[str] | None, param: str) -> Iterator[Constraint]:
    if texts is not None:
        yield Constraint(ConstraintKind.CHOICE, choices=tuple(texts), param=param)


def _check_size(constraint: Constraint) -> None:
    size = len(constraint.source) + sum(map(len, constraint.choices))
    if size > MAX_SOURCE:
        raise InvalidRequest(
            f"{constraint.param}: has {size} characters, and at most {MAX_SOURCE} are allowed.", param=constraint.param
        )
