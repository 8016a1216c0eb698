"""The tables of docs/settings.md, made from the services' own settings.

usage: python -m scripts.settings_table --write     (without it: exit status 1 when the page is stale)

Text outside of the marked blocks is written by hand and stays.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from chorus_adapter_store.config import Settings as StoreSettings
from chorus_engine.config import Settings as EngineSettings
from chorus_gateway.config import Settings as GatewaySettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
SERVICES: Mapping[str, type[BaseSettings]] = {
    "gateway": GatewaySettings,
    "engine": EngineSettings,
    "adapter-store": StoreSettings,
}
BLOCK = re.compile(r"(?s)(<!-- settings of (?P<service>[a-z-]+) -->\n).*?(<!-- end -->)")
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"))


def render(page: str) -> str:
    """`page` with every marked block brought up to date."""
    return BLOCK.sub(lambda block: f"{block[1]}{table(SERVICES[block['service']])}{block[3]}", page)


def table(settings: type[BaseSettings]) -> str:
    rows = [
        f"| {' '.join(f'`{name}`' for name in variables(name, field))} | {default(field)} | {meaning(field)} |"
        for name, field in settings.model_fields.items()
    ]
    return "\n".join(("| variable | default | meaning |", "| --- | --- | --- |", *rows, ""))


def variables(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The environment variables that set a field, the one that wins first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (alias,) if isinstance(alias, str) else (f"CHORUS_{name.upper()}",)


def default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`{_readable(value)}"


def meaning(field: FieldInfo) -> str:
    text = (field.description or "").rstrip(".").replace("|", "\\|")
    allowed = ", ".join(_allowed(field))
    return f"{text} ({allowed})" if allowed else text


def _readable(value: object) -> str:
    for size, unit in UNITS:
        if isinstance(value, int) and value >= size and value % size == 0:
            return f" ({value // size} {unit})"
    return ""


def _allowed(field: FieldInfo) -> Iterator[str]:
    """Choices and bounds, where the description does not name them."""
    text = field.description or ""
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if not all(str(choice) in text for choice in choices):
        yield ", ".join(f"`{choice}`" for choice in choices)
    bounds = {name: _bound(field, name) for name in ("ge", "gt", "le", "lt")}
    if bounds["ge"] and bounds["le"]:
        yield f"{bounds['ge']} to {bounds['le']}"
        return
    for word, name in (("at least", "ge"), ("above", "gt"), ("at most", "le"), ("below", "lt")):
        if bounds[name]:
            yield f"{word} {bounds[name]}"


def _bound(field: FieldInfo, name: str) -> str:
    """As text, "" without one; large powers of two as such."""
    value = next((bound for rule in field.metadata if (bound := getattr(rule, name, None)) is not None), "")
    large = isinstance(value, int) and value >= 1 << 32 and value & (value - 1) == 0
    return f"2^{value.bit_length() - 1}" if large and isinstance(value, int) else str(value)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring the page up to date")
    chosen = parser.parse_args(arguments)
    page = PAGE.read_text()
    fresh = render(page)
    if chosen.write:
        PAGE.write_text(fresh)
        return 0
    if fresh != page:
        print(f"{PAGE.name} is stale; run: python -m scripts.settings_table --write")
    return int(fresh != page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
