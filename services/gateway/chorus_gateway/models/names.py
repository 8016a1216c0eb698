"""`base`, `base@adapter`, `base@adapter:version`, `base@owner/adapter`, or a bare `adapter[:version]`."""

import re
from dataclasses import dataclass

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # tenants, adapters and aliases; generations are digits


@dataclass(frozen=True, slots=True)
class AdapterName:
    name: str
    owner: str = ""  # empty is the asking tenant
    version: str = ""  # a generation's number or an alias; empty is the latest


def split_base(model: str) -> tuple[str, str]:
    """(base, rest) at the last `@`; a name without one has an empty base."""
    base, _, rest = model.rpartition("@")
    return base, rest


def parse_adapter(text: str) -> AdapterName | None:
    """`[owner/]name[:version]`, or None where no adapter can have such a name."""
    path, colon, version = text.partition(":")
    owner, slash, name = path.rpartition("/")
    wanted = [name, *([owner] if slash else []), *([version] if colon else [])]
    if not all(NAME.fullmatch(part) for part in wanted):
        return None
    return AdapterName(name=name, owner=owner, version=version)
