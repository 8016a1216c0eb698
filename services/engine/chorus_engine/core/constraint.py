"""What the output of a request must be."""

from dataclasses import dataclass
from enum import StrEnum


class ConstraintKind(StrEnum):
    """The names are those of engine.proto's Constraint."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    LARK = "lark"


@dataclass(frozen=True, slots=True)
class Constraint:
    kind: ConstraintKind
    source: str = ""  # the schema as JSON, the expression, the texts as a JSON list, or the grammar
