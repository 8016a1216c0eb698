"""The gateway's settings: from the environment (`CHORUS_*`) or flags (`--gateway-port 8000`), read here only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from chorus_gateway.auth import Network, parse_key, parse_networks
from chorus_gateway.errors import StartError
from chorus_gateway.redis_url import check as check_redis_url

MIB, GIB = 1 << 20, 1 << 30


def _database_url(text: str) -> str:
    try:
        driver = make_url(text).drivername
    except ArgumentError as error:
        raise ValueError("it is not a database URL such as sqlite+aiosqlite:///.chorus/gateway.db") from error
    if driver not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise ValueError("it must begin with sqlite+aiosqlite:// or postgresql+asyncpg://")
    return text


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("it must be debug, info, warning or error")
    return text.lower()


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 16:
        raise ValueError("it must have at least 16 characters")
    return secret


def _optional_secret(secret: SecretStr | None) -> SecretStr | None:
    return _long_enough(secret) if secret is not None and secret.get_secret_value() else None


def _networks(text: str) -> str:
    parse_networks(text)
    return text


def _admin_key(secret: SecretStr | None) -> SecretStr | None:
    if secret is None or not secret.get_secret_value():
        return None
    if parse_key(secret.get_secret_value()) is None:
        raise ValueError("it is no API key: 'chorus_', 12 characters, '_' and 38 characters with a right checksum")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]


class Settings(BaseSettings):
    """Chorus gateway: who may ask, when, and where."""

    model_config = SettingsConfigDict(
        env_prefix="CHORUS_",
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        cli_prog_name="chorus-gateway",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_exit_on_error=False,
        cli_show_env_vars=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    gateway_host: str = Field("127.0.0.1", description="address to listen on")
    gateway_port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one")
    gateway_workers: int = Field(
        1, ge=1, le=256, description="processes that serve the port; each has a core's worth of requests"
    )
    gateway_database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite+aiosqlite:///.chorus/gateway.db",
        description="SQLAlchemy URL of the database: sqlite+aiosqlite or postgresql+asyncpg",
    )
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://127.0.0.1:8005/0", repr=False, description="URL of Redis"
    )
    store_address: str = Field("127.0.0.1:8003", description="host:port of the adapter store's gRPC")
    engine_addresses: str = Field(
        "", description="comma-separated host:port of engines to use beside those that Redis announces"
    )

    service_token: Secret = Field(description="secret that the services share; at least 16 characters")
    tls_ca: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = Field(
        None,
        description="PEM file with the CA that engines' and the store's certificates are checked against; "
        "calls to them go without TLS unless it is set",
    )
    key_pepper: Secret = Field(description="secret under which API keys are hashed; at least 16 characters")
    key_pepper_previous: Annotated[SecretStr | None, AfterValidator(_optional_secret)] = Field(
        None,
        description="the secret that was CHORUS_KEY_PEPPER before, while keys are moved to the new one as they are "
        "used; none by default",
    )
    namespace_secret: Secret = Field(
        description="secret under which prefix-cache namespaces are derived, the same for all gateways; "
        "at least 16 characters"
    )
    admin_key: Annotated[SecretStr | None, AfterValidator(_admin_key)] = Field(
        None, description="API key that is made an administrator's at start; none by default"
    )

    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="comma-separated networks (CIDR) of proxies before the gateway, whose x-forwarded-for says where "
        "a request comes from; none by default",
    )
    max_body_bytes: int = Field(
        8 * MIB, ge=1024, description="largest body of a request with prompts, in bytes; others may have 256 KiB"
    )
    max_upload_bytes: int = Field(
        8 * GIB, ge=1024, description="largest body of an adapter's upload, in bytes; the store has a limit of its own"
    )
    max_file_bytes: int = Field(
        200 * MIB, ge=1024, description="largest file that a tenant may upload for a batch, in bytes"
    )
    max_tenant_file_bytes: int = Field(
        2 * GIB,
        ge=1024,
        description="most bytes of a tenant's files together, over which no upload is taken; what batches come to is "
        "written all the same",
    )
    max_tenant_files: int = Field(
        10_000,
        ge=1,
        description="most files of a tenant, over which no upload is taken; those that batches come to count, and are "
        "written all the same",
    )
    batch_concurrency: int = Field(
        32,
        ge=0,
        le=1024,
        description="lines of one batch that run at once; 0: this gateway takes batches and works on none",
    )
    batch_lease: float = Field(
        15.0,
        ge=1,
        le=600,
        description="after how long another gateway process goes on with a batch whose own was killed, in seconds",
    )
    auth_cache_ttl: float = Field(
        0.8, ge=0, le=60, description="how long a key's look-up is kept, in seconds; bounds a missed revocation"
    )
    model_cache_ttl: float = Field(
        0.5,
        ge=0,
        le=1,
        description="how long an adapter's resolved name is kept, in seconds; bounds a missed withdrawal or deletion",
    )
    max_queue: int = Field(
        4096,
        ge=1,
        description="most requests that wait for an engine, per gateway process; each input of an embedding is one",
    )
    max_queue_bytes: int = Field(
        256 * MIB, ge=MIB, description="most bytes of prompts that wait for an engine, per gateway process"
    )
    max_queue_wait: float = Field(
        60.0,
        gt=0,
        description="longest time that a request may wait for an engine, in seconds; one that would wait for longer, "
        "or past its deadline, is refused at once",
    )
    queue_order: Literal["arrival", "shortest"] = Field(
        "arrival",
        description="order of one tenant's own requests in a band; shortest: by prompt and max_tokens together, each "
        "64 tokens worth one place",
    )
    band_patience: int = Field(
        16,
        ge=1,
        description="requests of higher bands that may go before a band that waits, until one of its own does; the "
        "engines' setting too",
    )
    locality_deficit: float = Field(
        512.0,
        ge=0,
        description="how far a tenant may be behind another one of its band, in weighted tokens, and be passed over "
        "when the other's request finds its adapter in a slot and its own does not",
    )
    adapter_patience: float = Field(
        0.1,
        gt=0,
        le=10,
        description="how long a request waits for an engine that has its adapter while another one has room, "
        "in seconds",
    )
    engine_silence: float = Field(
        30.0,
        gt=0,
        description="an engine that has requests and says nothing for so long counts as one that hangs, in seconds",
    )
    journal_dir: Path = Field(
        Path(".chorus/journal"),
        description="folder of the journal of usage; the workers of one machine share it, and finish what one of them "
        "left behind",
    )
    journal_sync: bool = Field(
        False,
        description="whether the journal goes to the disk itself every second; without it a crash of the machine may "
        "lose the usage of the last half minute",
    )
    usage_retention: int = Field(
        0,
        ge=0,
        le=36_500,
        description="how long a row for each request is kept, in days; 0 is for ever. Sums by day are always kept",
    )
    tool_format: Literal["auto", "hermes", "llama3", "mistral", "mistral-args", "qwen3-coder"] = Field(
        "auto",
        description="how the models write calls of tools; auto: as their chat templates tell",
    )
    request_timeout: float = Field(600.0, gt=0, description="longest time a request may take, in seconds")
    shutdown_grace: float = Field(
        10.0,
        ge=0,
        description="how long running requests may go on after SIGTERM before they end with an error, in seconds",
    )
    log_level: Annotated[str, AfterValidator(_log_level)] = Field(
        "info", description="least severe lines to log: debug, info, warning or error"
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="where spans are sent by OTLP; tracing is off without it",
    )
    otlp_protocol: Annotated[Literal["grpc", "http/protobuf"], BeforeValidator(lambda text: text or "grpc")] = Field(
        "grpc",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        description="how spans are sent: grpc or http/protobuf",
    )

    @property
    def proxies(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def static_engines(self) -> tuple[str, ...]:
        return tuple(address.strip() for address in self.engine_addresses.split(",") if address.strip())


def load_database_url() -> str:
    """For tools that need nothing else. StartError in one sentence."""
    field = Settings.model_fields["gateway_database_url"]
    url = os.environ.get("CHORUS_GATEWAY_DATABASE_URL") or str(field.default)
    try:
        return _database_url(url)
    except ValueError as error:
        raise StartError(f"CHORUS_GATEWAY_DATABASE_URL is wrong: {error}.") from error


def load_settings(arguments: Sequence[str] = ()) -> Settings:
    """StartError in one sentence that names the setting and its value (never a secret's). `--help` exits."""
    try:
        return Settings(_cli_parse_args=list(arguments))  # type: ignore[call-arg]  # required ones come from outside
    except ValidationError as error:
        raise StartError(_sentence(error.errors()[0])) from error
    except SettingsError as error:
        raise StartError(f"The command line cannot be read: {error}; see --help.") from error


def _aliased(name: str) -> str:
    """The variable that was set: pydantic gives a setting's first, whichever it read."""
    return name if name in os.environ else name.replace("_TRACES_", "_")


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    field = Settings.model_fields.get(name)
    variable = _aliased(name) if name.isupper() else f"CHORUS_{name.upper()}"
    meaning = f" ({field.description})" if field else ""
    if error["type"] == "missing":
        return f"{variable} is not set{meaning}; set it in the environment."
    secret = field is not None and (not field.repr or "Secret" in repr(field.annotation))
    value = "" if secret else f"={error['input']!r}"
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{variable}{value} is wrong: {reason[0].lower()}{reason[1:]}{meaning}."
