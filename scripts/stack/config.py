"""What a stack on this machine is made of, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.stack.errors import StackError

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"
DEMO_NAME = "chorus-demo"
PORTS = {
    "CHORUS_GATEWAY_PORT": 8000,
    "CHORUS_ENGINE_PORT": 8001,
    "CHORUS_ENGINE_METRICS_PORT": 8002,
    "CHORUS_STORE_PORT": 8003,
    "CHORUS_STORE_METRICS_PORT": 8004,
    "CHORUS_REDIS_PORT": 8005,
}
USER_OF_PORT = {
    "CHORUS_GATEWAY_PORT": "the gateway",
    "CHORUS_ENGINE_PORT": "the engine",
    "CHORUS_ENGINE_METRICS_PORT": "the engine's metrics",
    "CHORUS_STORE_PORT": "the adapter store",
    "CHORUS_STORE_METRICS_PORT": "the adapter store's metrics",
    "CHORUS_REDIS_PORT": "Redis",
}


@dataclass(frozen=True, slots=True)
class StackConfig:
    """`given` is the environment that the services inherit; what it does not set gets this stack's values."""

    state: Path
    host: str
    ports: Mapping[str, int]
    model: str
    given: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "StackConfig":
        """Raises StackError for a port that is none."""
        return cls(
            state=Path(environ.get("CHORUS_STATE_DIR") or ROOT / ".chorus").absolute(),
            host=environ.get("CHORUS_GATEWAY_HOST") or "127.0.0.1",
            ports={name: _port(environ, name, default) for name, default in PORTS.items()},
            model=environ.get("CHORUS_MODEL") or str(DEMO / "model"),
            given=environ,
        )

    @property
    def demo(self) -> bool:
        """Whether the demo's model is served, whose adapters then come with it."""
        return not self.given.get("CHORUS_MODEL")

    @property
    def own_redis(self) -> bool:
        return not self.given.get("CHORUS_REDIS_URL")

    @property
    def gateway_url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{host}:{self.ports['CHORUS_GATEWAY_PORT']}"

    @property
    def env_file(self) -> Path:
        """The address and the keys, for clients."""
        return self.state / "env"

    def log(self, service: str) -> Path:
        return self.state / "logs" / f"{service}.log"

    def port_settings(self) -> dict[str, int]:
        """The ports that this stack listens on, by the setting that moves each."""
        return {name: port for name, port in self.ports.items() if self.own_redis or name != "CHORUS_REDIS_PORT"}

    def environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Of every service: what was given wins over what this stack would choose."""
        redis = f"redis://:{secrets['CHORUS_REDIS_PASSWORD']}@127.0.0.1:{self.ports['CHORUS_REDIS_PORT']}/0"
        blobs = str(self.state / "blobs")
        chosen = {
            **secrets,
            **{name: str(port) for name, port in self.ports.items()},
            "CHORUS_ADAPTER_VOLUME": self.given.get("CHORUS_BLOB_DIR") or blobs,
            "CHORUS_BLOB_DIR": blobs,
            "CHORUS_DRAIN_SECONDS": "3",
            "CHORUS_ENGINE_CACHE_DIR": str(self.state / "engine"),
            "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{self.state / 'gateway.db'}",
            "CHORUS_JOURNAL_DIR": str(self.state / "journal"),
            "CHORUS_MODEL": self.model,
            "CHORUS_REDIS_URL": redis,
            "CHORUS_SHUTDOWN_GRACE": "3",
            "CHORUS_STATE_DIR": str(self.state),
            "CHORUS_STORE_ADDRESS": f"127.0.0.1:{self.ports['CHORUS_STORE_PORT']}",
            "CHORUS_STORE_DATABASE_URL": f"sqlite+aiosqlite:///{self.state / 'adapter-store.db'}",
            "CHORUS_STORE_SHUTDOWN_GRACE": "3",
            "PYTHONUNBUFFERED": "1",
        }
        if self.demo:
            chosen["CHORUS_SERVED_MODEL_NAME"] = DEMO_NAME
        given = {name: value for name, value in self.given.items() if value or not name.startswith("CHORUS_")}
        return {**chosen, **given, "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{given.get('PATH', os.defpath)}"}


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(f"{name}={text} is no TCP port: give a number from 1 to 65535.")
    return int(text)
