"""`chorus usage`."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from chorus_client.accounts import Usage
from chorus_client.cli import parsing
from chorus_client.cli.cells import plain
from chorus_client.cli.connection import administration, asking, settings_of
from chorus_client.cli.failure import Misuse
from chorus_client.cli.output import Column, Form, show_all, show_json, write
from chorus_client.usage import UsageReports

GROUPS = ("tenant", "key", "adapter", "model", "day")


class UsageForm(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"


SUMS: tuple[Column[Usage], ...] = (
    Column("requests", lambda usage: usage.requests, right=True),
    Column("prompt", lambda usage: usage.prompt_tokens, right=True),
    Column("cached", lambda usage: usage.cached_tokens, right=True),
    Column("output", lambda usage: usage.completion_tokens, right=True),
    Column("computed", lambda usage: usage.computed_tokens, right=True),
    Column("cost", lambda usage: usage.cost, right=True),
)


def usage(
    context: typer.Context,
    by: Annotated[str, typer.Option(help=f"Groups, between commas: {', '.join(GROUPS)}.")] = "tenant",
    start: Annotated[
        str | None, typer.Option("--from", help="2026-11-01, 2026-11-01T12:30, or 7d for a week ago; in UTC.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Likewise; it is not in it itself.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Of this tenant alone.")] = "",
    key: Annotated[str, typer.Option(help="Of the key with this id alone.")] = "",
    adapter: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Of this adapter alone.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Of this base model alone, its adapters too.")] = "",
    form: Annotated[
        UsageForm, typer.Option("--format", "--output", "-o", help="A table for people; the others for programs.")
    ] = UsageForm.TABLE,
) -> None:
    """What was used and what it cost, from the ledger. With a tenant's key, the tenant's own."""
    groups = _groups(by)
    asked: dict[str, Any] = {
        "start": _moment(start),
        "end": _moment(end),
        "tenant": tenant,
        "key": key,
        "adapter": adapter,
        "model": model,
    }
    settings = settings_of(context)
    if settings.admin_key is not None or settings.api_key is None:
        with administration(context) as admin:
            _report(admin.usage, groups, form, asked)
        return
    with closing(asking(context)) as transport:
        _report(UsageReports(transport), groups, form, asked | {"own": True})


def _report(reports: UsageReports, groups: Sequence[str], form: UsageForm, asked: dict[str, Any]) -> None:
    if form in (UsageForm.CSV, UsageForm.JSONL):
        for piece in reports.export(form, groups, **asked):
            write(piece)
        return
    sums = reports.sums(groups, **asked)
    if form is UsageForm.JSON:
        unasked = set(GROUPS) - set(groups)
        show_json([{name: each for name, each in plain(usage).items() if name not in unasked} for usage in sums])
        return
    show_all(sums, (*map(_group, groups), *SUMS), Form.TABLE, nothing="Nothing was used.")


def _group(name: str) -> Column[Usage]:
    return Column(name, lambda usage: getattr(usage, name))


def _groups(by: str) -> list[str]:
    groups = parsing.listed([by])
    if strange := [group for group in groups if group not in GROUPS]:
        raise Misuse(f"--by {strange[0]}: usage is grouped by {', '.join(GROUPS)}.")
    if not groups:
        raise Misuse(f"--by names no group: give one or more of {', '.join(GROUPS)}.")
    return list(dict.fromkeys(groups))


def _moment(written: str | None) -> datetime | None:
    return parsing.moment(written) if written else None
