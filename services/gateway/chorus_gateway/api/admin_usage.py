"""What was used: GET /admin/v1/usage for administrators, GET /v1/usage for a tenant's own."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from chorus_gateway.api.dependencies import PrincipalDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_limits import Printable
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.ledger.reports import Group, Reports, UsageQuery, UsageSum
from chorus_gateway.pipeline import tenant_of
from chorus_gateway.prices.money import money_text
from chorus_gateway.values import Scope

Format = Literal["json", "jsonl", "csv"]
SUMS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "computed_tokens", "cost")
MEDIA = {"json": "application/json", "jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
OWN_SUMS = 20_000  # most of a tenant's report
LATEST = 32_503_680_000.0  # the year 3000

By = Annotated[str, Query(description="groups, between commas: " + ", ".join(Group), examples=["tenant,day"])]
Moment = Annotated[
    str,
    Query(description="seconds since 1970, or ISO 8601 such as 2026-11-21 (in UTC); sums over whole days are fastest"),
]
From = Annotated[Moment, Query(alias="from")]
To = Annotated[Moment, Query(alias="to", description="likewise; it is not in it itself")]
Key = Annotated[Printable, Query(description="a key's id")]
Adapter = Annotated[Printable, Query(description="as `owner/name`")]
Model = Annotated[Printable, Query(description="a base model")]
FormatParam = Annotated[Format, Query(alias="format", description="`csv` and `jsonl` have one line a group")]
SUMMARY = "Sums of usage, as JSON, JSON lines or CSV"
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media.partition(";")[0]: {} for media in MEDIA.values()},
        "description": "One object or line a group: its names, " + ", ".join(f"`{name}`" for name in SUMS),
    }
}


def usage_routers(reports: Reports) -> tuple[APIRouter, APIRouter]:
    """For administrators, and for tenants."""
    return _for_administrators(reports), _for_tenants(reports)


def _for_administrators(reports: Reports) -> APIRouter:
    router = APIRouter(
        prefix="/admin/v1", route_class=authenticated(Scope.ADMIN), tags=["Usage"], responses={**ERRORS, **RESPONSES}
    )

    @router.get("/usage", summary=SUMMARY)
    async def read_usage(
        by: By = "tenant",
        start: From = "",
        end: To = "",
        tenant: Printable = "",
        key: Key = "",
        adapter: Adapter = "",
        model: Model = "",
        form: FormatParam = "json",
    ) -> StreamingResponse:
        """Tokens that clients got and those that engines computed, and what was asked for them. A request counts for
        the moment of its admission, and is here a moment after its end."""
        query = UsageQuery(_groups(by), _moment("from", start), _moment("to", end), tenant, key, adapter, model)
        return await _answer(reports, query, form)

    return router


def _for_tenants(reports: Reports) -> APIRouter:
    router = APIRouter(
        prefix="/v1", route_class=authenticated(Scope.INFER), tags=["Usage"], responses={**ERRORS, **RESPONSES}
    )

    @router.get("/usage", summary="One's own usage, in sums")
    async def read_own_usage(
        principal: PrincipalDep,
        by: By = "day",
        start: From = "",
        end: To = "",
        key: Key = "",
        adapter: Adapter = "",
        model: Model = "",
        form: FormatParam = "json",
    ) -> StreamingResponse:
        """Of all keys of the tenant that the key belongs to."""
        tenant = tenant_of(principal).id
        query = UsageQuery(_groups(by), _moment("from", start), _moment("to", end), tenant, key, adapter, model)
        found = await _whole(reports, query)
        return StreamingResponse(_body(found, _nothing(), query, form), media_type=MEDIA[form])

    return router


async def _answer(reports: Reports, query: UsageQuery, form: Format) -> StreamingResponse:
    """The first sums are there before the answer begins: what goes wrong until then has its own status."""
    parts = reports.sums(query)
    first: list[UsageSum] = await anext(parts, [])
    return StreamingResponse(_body(first, parts, query, form), media_type=MEDIA[form])


async def _whole(reports: Reports, query: UsageQuery) -> list[UsageSum]:
    """Of a tenant, who may read slowly or never: nothing of the database waits for that."""
    found: list[UsageSum] = []
    async with aclosing(reports.sums(query)) as parts:  # type: ignore[type-var]  # it is a generator
        async for part in parts:
            found += part
            if len(found) > OWN_SUMS:
                raise InvalidRequest(
                    f"by: more than {OWN_SUMS} groups were used: ask for fewer, or for less time with 'from' and 'to'.",
                    param="by",
                )
    return found


async def _nothing() -> AsyncIterator[list[UsageSum]]:
    return
    yield


async def _body(
    first: list[UsageSum], rest: AsyncIterator[list[UsageSum]], query: UsageQuery, form: Format
) -> AsyncIterator[str]:
    write = WRITERS[form]
    names = tuple(group.value for group in query.by)
    async with aclosing(rest):  # type: ignore[type-var]  # `sums` is a generator
        yield HEADS[form](names)
        yield write([_fields(each) for each in first], names, True)
        async for part in rest:
            yield write([_fields(each) for each in part], names, False)
        yield "]}" if form == "json" else ""


def _fields(each: UsageSum) -> tuple[str | int, ...]:
    tokens = (each.prompt, each.cached, each.completion, each.computed)
    return (*each.group, each.requests, *tokens, money_text(each.cost, digits=9))


def _objects(rows: Sequence[tuple[str | int, ...]], names: tuple[str, ...]) -> list[str]:
    return [json.dumps(dict(zip((*names, *SUMS), row, strict=True))) for row in rows]


def _write_json(rows: Sequence[tuple[str | int, ...]], names: tuple[str, ...], first: bool) -> str:
    return ("" if first else ",") + ",".join(_objects(rows, names))


def _write_jsonl(rows: Sequence[tuple[str | int, ...]], names: tuple[str, ...], first: bool) -> str:
    return "".join(f"{line}\n" for line in _objects(rows, names))


def _write_csv(rows: Sequence[tuple[str | int, ...]], names: tuple[str, ...], first: bool) -> str:
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


WRITERS: dict[Format, Callable[[Sequence[tuple[str | int, ...]], tuple[str, ...], bool], str]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
HEADS: dict[Format, Callable[[tuple[str, ...]], str]] = {
    "json": lambda _: '{"object":"list","data":[',
    "jsonl": lambda _: "",
    "csv": lambda names: ",".join((*names, *SUMS)) + "\r\n",
}


def _groups(by: str) -> tuple[Group, ...]:
    names = [name.strip() for name in by.split(",") if name.strip()]
    known = set(Group)
    for name in names:
        if name not in known:
            raise InvalidRequest(f"by: '{name[:64]}' is no group: use any of {', '.join(Group)}.", param="by")
    if not names:
        raise InvalidRequest(f"by: it names no group: use any of {', '.join(Group)}.", param="by")
    return tuple(Group(name) for name in dict.fromkeys(names))


def _moment(param: str, text: str) -> float | None:
    """Seconds since 1970; None for an empty text."""
    if not text:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else _iso(text)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < LATEST:
        raise InvalidRequest(
            f"{param}: '{text[:64]}' is no time: use seconds since 1970, or ISO 8601 such as 2026-11-21.", param=param
        )
    return seconds


def _iso(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
