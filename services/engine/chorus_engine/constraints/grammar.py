"""A constraint in llguidance's own form, and what is wrong with it."""

import json
from typing import TYPE_CHECKING, Any

from chorus_engine.constraints.tokenizer import TokenTable, library
from chorus_engine.constraints.where import place_of
from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import ConstraintRefused

if TYPE_CHECKING:
    import llguidance

# Between the parts of a JSON text: one space, or a new line and its indentation. Without a bound a model may fill its
# answer with blanks.
WHITESPACE = r"[ ]|\n[ ]{0,64}"
MAX_SOURCE = 1 << 18  # characters
LEXER_STATES = 20_000  # of 2 KB each; five thousand values or a date of every form need some hundreds
# What may follow at once. Schemas are not ambiguous, and have as many items as optional properties; in grammars the
# time of a token grows with its square.
SCHEMA_ITEMS, LARK_ITEMS = 2000, 200
NO_EXTENSION = "NoExtension"  # begins the name of what llguidance says where nothing may follow, not even an end


def compile_grammar(constraint: Constraint, table: TokenTable) -> "llguidance.LLMatcher":
    """A matcher at the beginning of an output, to be copied. Raises ConstraintRefused, one sentence that says where."""
    if len(constraint.source) > MAX_SOURCE:
        raise ConstraintRefused(f"it has {len(constraint.source)} characters; at most {MAX_SOURCE} are allowed.")
    guide, tokens = library(), table.get()
    bounds = limits(guide, constraint.kind)
    try:
        text = _grammar(constraint, guide)
    except ValueError as error:
        raise ConstraintRefused(f"{error}.") from error
    matcher: llguidance.LLMatcher = guide.LLMatcher(tokens, text, log_level=0, limits=bounds)
    if matcher.is_error():
        reason = guide.LLMatcher.validate_grammar(text, tokens, limits=bounds) or matcher.get_error()
        raise ConstraintRefused(_sentence(constraint, reason, guide))
    matcher.compute_bitmask()  # what this makes all copies share
    if matcher.is_error():
        raise ConstraintRefused(_sentence(constraint, matcher.get_error(), guide))
    return matcher


def limits(guide: Any, kind: ConstraintKind = ConstraintKind.JSON_SCHEMA) -> Any:
    """What one constraint may cost while it is followed, which all rows of a step wait for. With llguidance's defaults
    a line of an ambiguous grammar takes a second a token, and 450 MB a row."""
    items = LARK_ITEMS if kind is ConstraintKind.LARK else SCHEMA_ITEMS
    return guide.LLParserLimits(max_items_in_row=items, max_lexer_states=LEXER_STATES, verbose_errors=False)


def _grammar(constraint: Constraint, guide: Any) -> str:
    matcher = guide.LLMatcher
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return schema_grammar({"type": "object"}, guide)
        case ConstraintKind.JSON_SCHEMA:
            return schema_grammar(_schema(constraint.source), guide)
        case ConstraintKind.REGEX:
            return str(matcher.grammar_from_regex(constraint.source))
        case ConstraintKind.CHOICE:
            texts = json.loads(constraint.source)
            return str(matcher.grammar_from_lark("start: " + " | ".join(json.dumps(text) for text in texts)))
        case ConstraintKind.LARK:
            return str(matcher.grammar_from_lark(constraint.source))


def schema_grammar(schema: dict[str, Any], guide: Any) -> str:
    options = {"whitespace_pattern": WHITESPACE, "whitespace_flexible": True, "lenient": False}
    return str(guide.LLMatcher.grammar_from_json_schema(schema, overrides=options))


def _schema(source: str) -> dict[str, Any]:
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise ConstraintRefused(f"it is no JSON: {error}.") from error
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise ConstraintRefused(f"a schema must be a JSON object, and this is {source[:40]}.")
    return schema


def _sentence(constraint: Constraint, reason: str, guide: Any) -> str:
    reason = " ".join(reason.split())[:600].rstrip(".")
    if reason.startswith(NO_EXTENSION):
        reason = "no text fits it"
    if constraint.kind is not ConstraintKind.JSON_SCHEMA:
        return f"{reason}."
    place = place_of(_schema(constraint.source), reason, lambda schema: _complaint(schema, guide))
    return f"at {place}: {reason}."


def _complaint(schema: dict[str, Any], guide: Any) -> str:
    text = schema_grammar(schema, guide)
    return " ".join(guide.LLMatcher.validate_grammar(text, limits=limits(guide)).split())[:600].rstrip(".")
