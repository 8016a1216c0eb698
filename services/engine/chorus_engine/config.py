"""The engine's settings: from the environment (`CHORUS_*`) or flags (`--max-model-len 4096`), read here only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from chorus_engine.core.errors import StartError
from chorus_engine.core.request import MAX_SPECULATION
from chorus_engine.presence.redis_url import check as check_redis_url

GIB = 1 << 30


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 16:
        raise ValueError("it must have at least 16 characters")
    return secret


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("it must be debug, info, warning or error")
    return text.lower()


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("it must be a power of two")
    return value


class Settings(BaseSettings):
    """Chorus engine: one base model and its adapters on one device."""

    model_config = SettingsConfigDict(
        env_prefix="CHORUS_",
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        cli_prog_name="chorus-engine",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_exit_on_error=False,
        cli_show_env_vars=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    model: str = Field(
        min_length=1,
        description="the base model: a folder with a Hugging Face checkpoint, or a hub id such as Qwen/Qwen3-0.6B",
    )
    served_model_name: str | None = Field(
        None,
        pattern="^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$",
        description="the name under which tenants call the model; default: the last part of `model`",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the model runs: cpu, cuda, or auto (cuda if there is one, else cpu)"
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="type of weights and KV cache; auto: the checkpoint's on cuda, float32 on cpu"
    )
    load_format: Literal["auto", "safetensors", "dummy"] = Field(
        "auto", description="how weights are read; auto: safetensors; dummy: random weights, to measure speed"
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="seed of dummy weights; requests carry seeds of their own")
    max_model_len: int | None = Field(
        None,
        ge=1,
        description="longest prompt plus output of one request, in tokens; default: the checkpoint's limit, or as much "
        "of it as the KV cache holds",
    )
    max_num_seqs: int | None = Field(
        None,
        ge=1,
        description="most requests that run at once; default: 64 on cpu, 256 on cuda, above which steps have no CUDA "
        "graph",
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=1,
        description="most tokens a step, at least max_num_seqs; longer prompts are computed in chunks; "
        "default: 512 on cpu, 8192 on cuda, or max_num_seqs if that is more",
    )
    block_size: Annotated[int, AfterValidator(_power_of_two)] = Field(
        16, ge=1, le=256, description="tokens a KV block, a power of two"
    )
    num_kv_blocks: int | None = Field(
        None,
        ge=1,
        lt=1 << 31,
        description="KV blocks; default: as many as kv_cache_memory or gpu_memory_utilization allow",
    )
    kv_cache_memory: float = Field(0.5, gt=0, le=1 << 20, description="memory of the KV cache on cpu, in GiB")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="share of the GPU's memory for weights, KV cache and adapter pool together, 0 to 1"
    )
    swap_space: float = Field(
        0.0,
        ge=0,
        le=1 << 20,
        description="host memory for KV blocks swapped out under pressure on cuda, in GiB; used where swapping is "
        "measured to cost less than computing a preempted request again; 0, and on cpu: always computed again",
    )
    enforce_eager: bool = Field(
        False, description="never use CUDA graphs: starts faster and decodes slower; for finding faults"
    )
    draft_model: Annotated[str | None, BeforeValidator(lambda text: text or None)] = Field(
        None,
        description="a smaller model that guesses what the model will say, for both base and adapters: a folder or hub "
        "id with the same tokenizer; its weights and KV cache are taken from the same memory",
    )
    speculation: Literal["auto", "off", "ngram", "suffix", "draft"] = Field(
        "auto",
        description="who guesses tokens ahead, which are verified in one step and change no answer; ngram: what came "
        "after the same words in prompt and output; suffix: and in what the adapter answered the tenant lately; draft: "
        "draft_model; auto: draft where there is a draft_model, else suffix",
    )
    speculation_tokens: int = Field(
        8, ge=1, le=MAX_SPECULATION, description="most tokens guessed ahead of one request in a step"
    )
    enable_prefix_caching: bool = Field(
        True, description="keep the KV blocks of prompts that ended, for requests of the same tenant and adapter"
    )
    num_threads: int | None = Field(
        None,
        ge=1,
        description="threads that one operation may use on cpu; default: one less than cores, at least 1, at most 16",
    )

    max_adapters: int | None = Field(
        None,
        ge=0,
        description="adapter slots: adapters that can run in one batch; 0 is none; default: 8 on cpu, 64 on cuda",
    )
    max_vocab_adapters: int = Field(
        4,
        ge=0,
        description="of the adapters in slots, those that may have LoRA on lm_head or embed_tokens; memory for as many "
        "of max_lora_rank is set aside beside adapter_pool_memory; 0: such adapters are refused",
    )
    max_lora_rank: int = Field(64, ge=1, le=1024, description="largest rank of an adapter that is accepted")
    adapter_pool_memory: float | None = Field(
        None,
        gt=0,
        description="memory of the adapter pool, in GiB; "
        "default: enough for max_adapters adapters of max_lora_rank on every module, on cuda at most a fifth of what "
        "KV cache and adapters share",
    )
    host_adapter_memory: float = Field(
        2.0, gt=0, description="host memory that keeps adapters for their next use, in GiB; the largest upload it takes"
    )
    adapter_volume: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = Field(
        None,
        description="the adapter store's blob folder (CHORUS_BLOB_DIR), where the engine can read it: adapters are "
        "then read from it; default: they come over gRPC",
    )
    eviction_policy: Literal["demand", "lru"] = Field(
        "demand",
        description="which adapters give way in slots and in host memory; demand: those worth least, by how often they "
        "are asked for, the time to load them and their size; lru: the least recently used",
    )
    loader_niceness: int = Field(
        10, ge=0, le=19, description="niceness of the process that fetches and converts adapters; 19 is the humblest"
    )
    priority_share: float = Field(
        0.125,
        ge=0,
        le=0.5,
        description="share of max_num_seqs, rounded down, that only requests of the priority band may have, from the "
        "first of them until ten minutes after the last",
    )
    band_patience: int = Field(
        16,
        ge=1,
        description="requests of higher bands that may go before a band that waits, until one of its own does; the "
        "gateways' setting too",
    )
    kept_seats: int = Field(
        1,
        ge=0,
        description="of max_num_seqs, those kept for tenants that have nothing in the engine, while several use it; at "
        "most an eighth",
    )
    slot_patience: float = Field(
        2.0, gt=0, description="seconds after which a request whose adapter has no slot has one drained for it"
    )

    engine_host: str = Field("127.0.0.1", min_length=1, description="address to listen on, for gRPC and metrics")
    engine_port: int = Field(8001, ge=0, le=65535, description="TCP port of the engine's gRPC; 0 takes any free one")
    engine_metrics_port: int = Field(
        8002, ge=0, le=65535, description="TCP port of /metrics and /healthz over HTTP; 0 takes any free one"
    )
    engine_advertise: str | None = Field(
        None, description="host:port at which gateways reach this engine; default: engine_host:engine_port"
    )
    store_address: str = Field("127.0.0.1:8003", min_length=1, description="host:port of the adapter store's gRPC")
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = Field(
        "redis://127.0.0.1:8005/0", repr=False, description="URL of Redis, in which the engine registers itself"
    )
    service_token: Annotated[SecretStr, AfterValidator(_long_enough)] = Field(
        description="secret that the services share; at least 16 characters"
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
    drain_seconds: float = Field(
        5.0, ge=0, description="how long running requests may go on after SIGTERM before they are ended, in seconds"
    )
    stall_seconds: float = Field(
        10.0,
        gt=0,
        description="seconds without the end of a step, or 20 times the longest lately if that is more, after which "
        "the engine says that it is stalled and gets no requests",
    )
    hang_seconds: float | None = Field(
        None,
        gt=0,
        description="seconds without the end of a step, or twice those after which it is stalled if that is more, "
        "after which the process ends with status 1, for its supervisor to start another; default: 60 on cuda, 600 on "
        "cpu, where the first long prompt of a large model may take minutes",
    )
    engine_cache_dir: Path = Field(
        Path(".chorus/engine"), description="folder for what is dear to compute again, such as digests of weight files"
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
    cc: str | None = Field(
        None, validation_alias="CC", description="the C compiler that triton calls on cuda; default: gcc, cc or clang"
    )

    @property
    def name(self) -> str:
        return self.served_model_name or Path(self.model).resolve().name


def load_settings(arguments: Sequence[str] = ()) -> Settings:
    """StartError in one sentence that names the setting and its value (never a secret's). `--help` exits."""
    try:
        return Settings(_cli_parse_args=list(arguments))  # type: ignore[call-arg]  # required ones come from outside
    except ValidationError as error:
        raise StartError(_sentence(error.errors()[0])) from error
    except SettingsError as error:
        raise StartError(f"the command line cannot be read: {error}; see --help.") from error


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
