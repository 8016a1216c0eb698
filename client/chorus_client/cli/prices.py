"""`chorus prices`."""

from typing import Annotated

import typer

from chorus_client.accounts import Price
from chorus_client.cli import parsing
from chorus_client.cli.connection import administration
from chorus_client.cli.output import Column, Form, Output, show_all, show_one

app = typer.Typer(name="prices", help="What a million tokens cost, by model and adapter.", no_args_is_help=True)

COLUMNS: tuple[Column[Price], ...] = (
    Column("model", lambda price: price.model),
    Column("adapter", lambda price: price.adapter or "(base, and adapters without a price)"),
    Column("input", lambda price: price.input, right=True),
    Column("cached", lambda price: price.cached, right=True),
    Column("output", lambda price: price.output, right=True),
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A base model.")]
Adapter = Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Of this adapter on it alone.")]


@app.command("list")
def list_(context: typer.Context, output: Output = Form.TABLE) -> None:
    """All prices."""
    with administration(context) as admin:
        show_all(admin.prices.list(), COLUMNS, output, nothing="Nothing has a price.")


@app.command("set")
def set_(
    context: typer.Context,
    model: Model,
    input: Annotated[str, typer.Option(help="Of a million prompt tokens, such as 0.15.")],
    generated: Annotated[str, typer.Option(help="Of a million generated tokens: the API's `output`.")],
    cached: Annotated[str | None, typer.Option(help="Of a million prompt tokens from the cache; else --input.")] = None,
    adapter: Adapter = None,
    output: Output = Form.TABLE,
) -> None:
    """Set a price; requests that begin from now on cost it."""
    if adapter:
        parsing.pair(adapter)
    paid = {"input": parsing.money(input), "output": parsing.money(generated)}
    from_cache = parsing.money(cached) if cached is not None else None
    with administration(context) as admin:
        price = admin.prices.set(model, **paid, cached=from_cache, adapter=adapter or "")
    show_one(price, COLUMNS, output)


@app.command()
def remove(context: typer.Context, model: Model, adapter: Adapter = None) -> None:
    """Take a price away: an adapter costs what its base does then, a base nothing."""
    if adapter:
        parsing.pair(adapter)
    with administration(context) as admin:
        admin.prices.remove(model, adapter=adapter or "")
