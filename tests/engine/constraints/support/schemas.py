"""Random JSON Schemas of the keywords that the engine takes."""

from typing import Any

from hypothesis import strategies as st

Schemas = st.SearchStrategy[dict[str, Any]]

PATTERNS = ["^[a-z]+$", "^[0-9]{2,4}$", "^(red|green) [a-f]?$", "^\\d+-[A-Z]$", "^x.{0,3}y$"]
FORMATS = ["date", "uuid", "ipv4", "email"]
NAMES = ["id", "name", "größe", "a b", "x-y", "0"]
VALUES = [None, True, -3, 2.5, "word", 'q"uo\\te', "<|end|>", "ü", [], [1, "a"], {}, {"k": None}]
FEW = st.integers(0, 5)
NUMBER = st.integers(-1000, 1000)


def schemas(depth: int = 3) -> Schemas:
    """Parts nest at most `depth` deep. Some cannot be met by any value."""
    return _leaves() if depth == 0 else st.one_of(_leaves(), _nested(schemas(depth - 1)))


def _leaves() -> Schemas:
    values = st.sampled_from(VALUES)
    return st.one_of(
        _typed("string", minLength=FEW, maxLength=st.integers(4, 20)),
        _typed("string", pattern=st.sampled_from(PATTERNS)),
        _typed("string", format=st.sampled_from(FORMATS)),
        _typed("integer", minimum=NUMBER, maximum=NUMBER),
        _typed("number", minimum=NUMBER, exclusiveMaximum=NUMBER),
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}]),
        st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=4)}),
        st.fixed_dictionaries({"const": values}),
    )


def _nested(part: Schemas) -> Schemas:
    some = st.lists(part, min_size=1, max_size=3)
    names = st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
    properties = st.dictionaries(st.sampled_from(NAMES), part, max_size=4)
    return st.one_of(
        _typed("array", items=part, minItems=st.integers(0, 2), maxItems=st.integers(1, 4)),
        _typed("array", prefixItems=some, items=st.just(False)),
        _typed("object", properties=properties, required=names, additionalProperties=st.just(False)),
        _typed("object", properties=properties, required=names, additionalProperties=part),
        st.fixed_dictionaries({"anyOf": some}),
        st.builds(lambda shared: {"$defs": {"shared": shared}, **_pair()}, part),
    )


def _pair() -> dict[str, Any]:
    reference = {"$ref": "#/$defs/shared"}
    properties = {"left": reference, "right": reference}
    return {"type": "object", "properties": properties, "required": ["left"], "additionalProperties": False}


def _typed(name: str, **keywords: st.SearchStrategy[Any]) -> Schemas:
    """Each keyword is there or not."""
    return st.fixed_dictionaries({"type": st.just(name)}, optional=keywords)
