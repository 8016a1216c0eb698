"""Chat templates, rendered as transformers' `apply_chat_template` renders them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chorus_gateway.errors import Internal, InvalidRequest


class ChatTemplate:
    """`variables` are the special tokens by name, such as {"bos_token": "<s>"}. The template runs in a sandbox.

    `takes_tools`: it has a place for tools and their calls.
    """

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise Internal(
                f"The model's chat template cannot be read: {error.message}, line {error.lineno}."
            ) from error
        self._variables = dict(variables)
        self.takes_tools = "tools" in find_undeclared_variables(environment.parse(source))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        field: str = "messages",
    ) -> str:
        """The prompt, up to where the assistant's turn begins. InvalidRequest, of `field`, if the template refuses."""
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=True,
                **self._variables,
            )
        except Exception as error:
            # A template is a program: whatever it raises, it is these messages that it cannot render.
            raise InvalidRequest(f"The model's chat template refused these messages: {error}", param=field) from error


class _GenerationTag(Extension):
    """{% generation %}…{% endgeneration %} marks the assistant's text for training; here it only passes its body on."""

    tags = {"generation"}  # noqa: RUF012 - jinja declares it so

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Any) -> Any:
        return caller()


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 - templates are written for local time


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
