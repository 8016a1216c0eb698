"""Many rows in one statement with one parameter: the database takes them apart, while the event loop goes on."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table, TextClause, text
from sqlalchemy.engine import Dialect

_encode = json.JSONEncoder(separators=(",", ":")).encode


def insert_rows(table: Table, dialect: Dialect, end: str) -> TextClause:
    """INSERT of `:rows`, which are `parameter`s in the order of the table's columns. `end`: ON CONFLICT …"""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    if dialect.name == "postgresql":
        values = (f"CAST(v ->> {at} AS {column.type.compile(dialect)})" for at, column in enumerate(table.columns))
        rows = "jsonb_array_elements(CAST(CAST(:rows AS TEXT) AS JSONB)) AS v"
    else:
        values = (f"json_extract(value, '$[{at}]')" for at, _ in enumerate(table.columns))
        rows = "json_each(:rows) WHERE true"  # without WHERE, ON CONFLICT would read as a join's ON
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {', '.join(values)} FROM {rows} {end}")  # noqa: S608 - names of ours


def parameter(rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    return {"rows": _encode(list(rows))}
