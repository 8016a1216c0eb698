"""From a command to the gateway."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import typer

from chorus_client.admin import ChorusAdmin
from chorus_client.cli.failure import Misuse
from chorus_client.cli.settings import Setting, Settings
from chorus_client.transport import Transport, connect

ANSWER_SECONDS = 600.0  # without a byte of an answer: a model may think, and wait for its turn


def settings_of(context: typer.Context) -> Settings:
    """Read when they are needed: help is given whatever they say."""
    return Settings.find(context.find_root().obj)


def administration(context: typer.Context) -> ChorusAdmin:
    """As an administrator. To be closed."""
    settings = settings_of(context)
    return _admin(settings, _needed(settings.admin_key, "an administrator's key", "CHORUS_ADMIN_KEY", "admin-key"))


def adapter_management(context: typer.Context) -> ChorusAdmin:
    """As an administrator, else as a tenant whose key may manage its adapters. To be closed."""
    settings = settings_of(context)
    return administration(context) if settings.admin_key or not settings.api_key else _admin(settings, settings.api_key)


def asking(context: typer.Context, timeout: float = ANSWER_SECONDS) -> Transport:
    """As a tenant. To be closed. `timeout`: seconds without a byte."""
    settings = settings_of(context)
    key = _needed(settings.api_key, "a tenant's key", "CHORUS_API_KEY", "api-key")
    with _environment_understood():
        return connect(settings.base_url.value, key.value, timeout=timeout, retries=2)


def _admin(settings: Settings, key: Setting) -> ChorusAdmin:
    with _environment_understood():
        return ChorusAdmin(settings.base_url.value, key.value)


@contextmanager
def _environment_understood() -> Iterator[None]:
    """httpx reads HTTP_PROXY, SSL_CERT_FILE and their like when a client is made."""
    try:
        yield
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        reason = str(error).rstrip(".")
        raise Misuse(f"The environment's settings of proxies or certificates cannot be used: {reason}.") from error


def _needed(setting: Setting | None, what: str, variable: str, name: str) -> Setting:
    if setting is None:
        raise Misuse(f"This needs {what}: set {variable}, or keep one with `chorus config set {name}`.")
    return setting
