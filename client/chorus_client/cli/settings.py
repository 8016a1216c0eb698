"""Where the gateway is and which keys to show it: by option, else environment, else the configuration file."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import typer

from chorus_client.cli.failure import Misuse

DEFAULT_URL = "http://127.0.0.1:8000"
VARIABLES = {"base-url": "CHORUS_BASE_URL", "api-key": "CHORUS_API_KEY", "admin-key": "CHORUS_ADMIN_KEY"}
FILE_VARIABLE = "CHORUS_CONFIG"


@dataclass(frozen=True, slots=True)
class Setting:
    value: str
    source: str  # for people: where it was found


@dataclass(frozen=True, slots=True)
class Settings:
    base_url: Setting
    api_key: Setting | None = None  # a tenant's
    admin_key: Setting | None = None

    @classmethod
    def find(cls, base_url: str | None = None, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Misuse when one of them cannot be what it is for."""
        file = read_file()
        found: dict[str, Setting | None] = {}
        for name, variable in VARIABLES.items():
            if environment.get(variable):
                found[name] = Setting(environment[variable], variable)
            else:
                found[name] = Setting(file[name], str(file_path())) if name in file else None
        url = Setting(base_url, "--base-url") if base_url else found["base-url"]
        url = url or Setting(DEFAULT_URL, "the default")
        return cls(_checked_url(url), _checked_key(found["api-key"]), _checked_key(found["admin-key"]))


def file_path() -> Path:
    chosen = os.environ.get(FILE_VARIABLE)
    return Path(chosen) if chosen else Path(typer.get_app_dir("chorus"), "config.toml")


def read_file() -> dict[str, str]:
    """Misuse when it is no such file."""
    path = file_path()
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misuse(f"The configuration {path} cannot be read: {error}.") from error
    unknown = [name for name, value in data.items() if name not in VARIABLES or not isinstance(value, str)]
    if unknown:
        raise Misuse(f"The configuration {path} may say {', '.join(VARIABLES)}, each a string, not {unknown[0]}.")
    return {name: value for name, value in data.items() if value}


def write_file(values: Mapping[str, str]) -> None:
    """For its owner's eyes only."""
    path = file_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in sorted(values.items())]
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(lines)
    staged.replace(path)


def _checked_url(setting: Setting) -> Setting:
    try:
        url = httpx.URL(setting.value)
    except httpx.InvalidURL as error:
        raise Misuse(f"The gateway's address {setting.value!r} (from {setting.source}) is no URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 1) < 65536:
        raise Misuse(
            f"The gateway's address {setting.value!r} (from {setting.source}) must be one such as {DEFAULT_URL}."
        )
    return setting


def _checked_key(setting: Setting | None) -> Setting | None:
    if setting is None:
        return None
    key = setting.value.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Misuse(f"The key from {setting.source} is none: a key is 'chorus_' and letters, digits and '_'.")
    return Setting(key, setting.source)
