"""Options that several commands have."""

from typing import Annotated

import typer

from chorus_client.cli import parsing

TENANT_VARIABLE = "CHORUS_TENANT"


def _limit_names(incomplete: str) -> list[str]:
    return [f"{name}=" for name in parsing.LIMITS if name.startswith(incomplete)]


AdapterName = Annotated[str, typer.Argument(metavar="ADAPTER", help="tenant/name, or name with --tenant.")]
VersionedName = Annotated[
    str, typer.Argument(metavar="ADAPTER", help="tenant/name, or tenant/name:version; a number or an alias.")
]
OfTenant = Annotated[
    str | None,
    typer.Option("--tenant", "-t", envvar=TENANT_VARIABLE, help="Whose adapter it is, where its name does not say."),
]
Reason = Annotated[str, typer.Option(help="Kept in the adapter's history.")]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        autocompletion=_limit_names,
        help=f"May be repeated. NAME: {', '.join(parsing.LIMITS)}. A budget may be 12.50/day, /month or /total.",
    ),
]
LimitArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME=VALUE...",
        autocompletion=_limit_names,
        help=f"NAME: {', '.join(parsing.LIMITS)}. `none` lifts a limit. A budget may be 12.50/day, /month or /total.",
    ),
]
