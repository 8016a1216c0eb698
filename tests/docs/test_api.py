import re
from collections.abc import Mapping
from typing import Any

import pytest

from chorus_gateway.api.errors import STATUS
from chorus_gateway.api.schemas import UNSUPPORTED, GenerationRequest
from chorus_gateway.api.schemas_beams import BeamRequest
from chorus_gateway.api.schemas_chat import UNSUPPORTED_CHAT, ChatRequest
from chorus_gateway.api.schemas_completions import UNSUPPORTED_COMPLETIONS, CompletionRequest
from chorus_gateway.api.schemas_embeddings import EmbeddingRequest
from tests.docs.pages import DOCS, ROOT, section

API = DOCS / "api.md"
FIELDS: Mapping[str, tuple[type[GenerationRequest], Mapping[str, object]]] = {
    "### Fields of both": (GenerationRequest, UNSUPPORTED),
    "### Beam search": (BeamRequest, {}),
    "### Fields of chat": (ChatRequest, UNSUPPORTED_CHAT),
    "### Fields of completions": (CompletionRequest, UNSUPPORTED_COMPLETIONS),
}


def cells(heading: str) -> list[list[str]]:
    """Of the rows that begin with code."""
    rows = [row for row in section(API, heading).splitlines() if row.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_route_is_listed_and_no_other(openapi: dict[str, Any]) -> None:
    routes = {f"{method.upper()} {path}" for path, methods in openapi["paths"].items() for method in methods}
    assert {row[0].strip("`") for row in cells("## Endpoints")} == routes


@pytest.mark.parametrize("heading", FIELDS)
def test_every_field_is_listed_and_no_other(heading: str) -> None:
    listed = {name for row in cells(heading) for name in re.findall(r"`(\w+)`", row[0])}
    schema = FIELDS[heading][0]
    (inherited,) = schema.__bases__
    common = inherited.model_fields if issubclass(inherited, GenerationRequest) else {}
    assert listed == schema.model_fields.keys() - common.keys()


def test_every_field_of_embeddings_is_listed_and_no_other() -> None:
    listed = {name for row in cells("## Embeddings") for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == set(EmbeddingRequest.model_fields)


@pytest.mark.parametrize("heading", FIELDS)
def test_every_field_that_is_refused_by_name_is_named(heading: str) -> None:
    page = section(API, heading) + section(API, "### Fields of both")
    assert not [name for name in FIELDS[heading][1] if f"`{name}" not in page]


def test_every_status_is_listed_with_its_type() -> None:
    rows = re.findall(r"(?m)^\| (\d{3}) \| `(\w+)`", section(API, "## Errors"))
    listed = {(int(status), kind) for status, kind in rows} | {(429, "insufficient_quota")}
    assert set(STATUS.values()) <= listed
    assert {status for status, _ in listed} == {status for status, _ in STATUS.values()} | {405}
    assert "`insufficient_quota`" in section(API, "## Errors")


def test_every_code_that_the_gateway_answers_is_listed() -> None:
    sources = (ROOT / "services" / "gateway" / "chorus_gateway").rglob("*.py")
    codes = {code for source in sources for code in re.findall(r'code="(\w+)"', source.read_text())}
    assert codes
    assert not [code for code in codes if f"`{code}`" not in section(API, "## Errors")]
