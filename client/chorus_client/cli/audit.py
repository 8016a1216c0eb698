"""`chorus audit`."""

from typing import Annotated

import typer

from chorus_client.accounts import AuditEntry
from chorus_client.cli.cells import plain
from chorus_client.cli.connection import administration
from chorus_client.cli.failure import FAILED
from chorus_client.cli.output import Column, Form, Output, show_all, show_json, write

app = typer.Typer(
    name="audit", help="The audit log: who changed what, and whether the log is whole.", no_args_is_help=True
)

COLUMNS: tuple[Column[AuditEntry], ...] = (
    Column("seq", lambda entry: entry.seq, right=True),
    Column("at", lambda entry: entry.at),
    Column("key", lambda entry: entry.actor),
    Column("from", lambda entry: entry.client),
    Column("action", lambda entry: entry.action),
    Column("object", lambda entry: entry.object),
    Column("details", lambda entry: entry.details),
)


@app.command("list")
def list_(
    context: typer.Context,
    since: Annotated[int, typer.Option(min=0, help="The first entry's number.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="Most entries.")] = 100,
    actor: Annotated[str, typer.Option(help="Of the key with this id alone.")] = "",
    output: Output = Form.TABLE,
) -> None:
    """Entries in their order."""
    with administration(context) as admin:
        entries = admin.audit.list(since=since, limit=limit, actor=actor)
    show_all(entries, COLUMNS, output, nothing="There are no such entries.")


@app.command()
def verify(
    context: typer.Context,
    head: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="As an earlier check printed it: it must still be there.")
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Check the log's chain of hashes. Exit status 1 when it was changed."""
    with administration(context) as admin:
        verdict = admin.audit.verify(head=head)
    if output is Form.JSON:
        show_json(plain(verdict))
    elif verdict.ok:
        write(f"All {verdict.entries} entries are as they were written. Keep this head elsewhere: {verdict.head}\n")
    else:
        write(f"The log is not what was written, from entry {verdict.seq} on: {verdict.reason}.\n")
    if not verdict.ok:
        raise typer.Exit(FAILED)
