"""Every setting of the adapter store: read here, once, from CHORUS_* variables or command-line flags."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from chorus_adapter_store.blobs import Policy
from chorus_adapter_store.errors import StartError
from chorus_adapter_store.redis_url import check as check_redis_url
from chorus_adapter_store.validate import Limits

_PLAIN = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")


class Settings(BaseSettings):
    """The truth about adapters: uploads, validation, blobs and the catalog."""

    model_config = SettingsConfigDict(
        env_prefix="CHORUS_",
        frozen=True,
        allow_inf_nan=False,
        cli_prog_name="python -m chorus_adapter_store",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_show_env_vars=True,
    )

    service_token: SecretStr = Field(
        min_length=16, description="Secret shared by all services, at least 16 characters; required"
    )
    tls_cert: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = Field(
        None, description="PEM file with the certificate that gRPC shows; set all three for TLS between services"
    )
    tls_key: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = Field(
        None, description="PEM file with the unencrypted key of that certificate"
    )
    tls_ca: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = Field(
        None, description="PEM file with the CA that other services' certificates are checked against"
    )
    store_host: str = Field("127.0.0.1", description="Address that gRPC and metrics listen on")
    store_port: int = Field(8003, ge=0, le=65535, description="Port of gRPC; 0 takes a free one")
    store_metrics_port: int = Field(
        8004, ge=0, le=65535, description="Port of /metrics and /healthz; 0 takes a free one"
    )
    store_database_url: str = Field(
        "sqlite+aiosqlite:///.chorus/adapter-store.db",
        description="Catalog: sqlite+aiosqlite:///path or postgresql+asyncpg://user:password@host/database",
        repr=False,  # may hold a password
    )
    blob_dir: Path = Field(
        Path(".chorus/blobs"), description="Folder of the adapters' files; with blob_url, of uploads under way"
    )
    blob_url: Annotated[str | None, BeforeValidator(lambda text: text or None)] = Field(
        None,
        description="s3://bucket/prefix that keeps the adapters' files instead; credentials are in AWS_* variables",
    )
    s3_endpoint_url: Annotated[str | None, BeforeValidator(lambda text: text or None)] = Field(
        None, pattern=r"^https?://\S+$", description="S3-compatible server; default: Amazon's in the AWS_* region"
    )
    import_buckets: str = Field(
        "", description="Buckets, or bucket/prefix, that adapters may be imported from, with commas; empty: none"
    )
    import_timeout: float = Field(600, gt=0, description="Longest time of an import, in seconds")
    store_memory: float = Field(
        1, ge=0, le=1 << 20, description="Memory that keeps adapters' files for the next engine, in GiB; 0 keeps none"
    )
    eviction_policy: Policy = Field(
        Policy.DEMAND,
        description="What gives way in it: demand (least asked for, for its cost) or lru (oldest request)",
    )
    store_scrub_speed: float = Field(
        8, ge=0, description="How fast files are read again, once a day, to find damage, in MiB a second; 0: never"
    )
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://127.0.0.1:8005/0", description="URL of Redis: engine registry and adapter events", repr=False
    )
    placement: Literal["on", "off"] = Field(
        "on", description="Whether this store may decide which engines hold which adapters; one of all stores does"
    )
    max_lora_rank: int = Field(64, ge=1, le=1024, description="Largest rank of an adapter, in rows")
    store_max_adapter_bytes: int = Field(
        1 << 30,
        ge=1,
        description="Largest adapter_model.safetensors, in bytes, without matrices that are its base's own",
    )
    store_delete_grace: float = Field(
        86_400, ge=0, description="Time for which a deleted adapter can be restored, and fetched by engines, in seconds"
    )
    store_sweep_interval: float = Field(30, gt=0, description="Time between removals of what is not needed, in seconds")
    store_upload_idle_timeout: float = Field(30, gt=0, description="Longest pause inside an upload, in seconds")
    store_validations: int = Field(2, ge=1, description="Uploads validated at once")
    store_validation_memory: float = Field(
        1,
        ge=0.25,
        le=1 << 20,
        description="Memory that checking one upload may take, in GiB; no matter how large it is",
    )
    store_validation_timeout: float = Field(60, gt=0, description="Longest time to check one upload, in seconds")
    store_shutdown_grace: float = Field(10, ge=0, description="Time for running calls to finish at a stop, in seconds")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="Where spans are sent by OTLP; tracing is off without it",
    )
    otlp_protocol: Annotated[Literal["grpc", "http/protobuf"], BeforeValidator(lambda text: text or "grpc")] = Field(
        "grpc",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        description="How spans are sent: grpc or http/protobuf",
    )

    def limits(self) -> Limits:
        return Limits(max_rank=self.max_lora_rank, max_weights_bytes=self.store_max_adapter_bytes)


def load_settings(arguments: Sequence[str]) -> Settings:
    """Raises StartError naming each setting that is missing or wrong, and its value; `--help` exits."""
    try:
        return Settings(_cli_parse_args=list(arguments))  # type: ignore[call-arg]  # service_token comes from outside
    except ValidationError as error:
        raise StartError("; ".join(_sentence(dict(each)) for each in error.errors())) from None
    except SettingsError as error:
        raise StartError(" ".join(str(error).split())) from None


def plain_environment() -> dict[str, str]:
    """For processes that read strangers' files: what Python needs to start, and no secret."""
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}


def _aliased(name: str) -> str:
    """The variable that was set: pydantic gives a setting's first, whichever it read."""
    return name if name in os.environ else name.replace("_TRACES_", "_")


def _sentence(problem: dict[str, object]) -> str:
    location = problem["loc"]
    field = str(location[0]) if isinstance(location, tuple) and location else ""
    variable = _aliased(field) if field.isupper() else f"CHORUS_{field.upper()}"
    if problem["type"] == "missing":
        return f"{variable} is not set; {Settings.model_fields[field].description}"
    shown = "" if field in ("service_token", "redis_url") else f"={problem['input']!r}"
    return f"{variable}{shown} is wrong: {str(problem['msg']).removeprefix('Value error, ')}"
