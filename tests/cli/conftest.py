"""The command against a gateway process, with real Redis and SQLite, and doubles of engine and store over gRPC."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import certifi
import httpx
import pytest
from redis import Redis

from chorus_client import ChorusAdmin
from chorus_client.cli.app import run
from chorus_gateway.auth import generate_key
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.engine.v1 import engine_pb2
from tests.adapter_store.support import make_upload
from tests.gateway.support.fake_engine import TOKEN, FakeEngine, Reply
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.redis_server import RedisServer, free_port
from tests.gateway.support.tokenizers import END, bundle, ids

ENGINE, MODEL = "engine-1", "chorus-demo"
READY_SECONDS = 60.0  # on a busy machine
_tenants = count()


@dataclass
class Doubles:
    """Engine and store, in a loop on a thread of their own. A test may change `words`, `pause` and `error`."""

    engine: FakeEngine = field(init=False)
    store: FakeStore = field(init=False)
    words: str = "hello world"
    pause: float = 0.0  # seconds before each token
    error: engine_pb2.Error | None = None  # after the words

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        self.engine = FakeEngine(bundle(), replier=lambda submit: self._reply(), model=MODEL, engine_id=ENGINE)
        await self.engine.start()
        self.store = await FakeStore(MODEL).start()
        self.store.engines = [pb.Engine(engine_id=ENGINE, address=self.engine.address, model=MODEL, slots=4)]

    async def _stop(self) -> None:
        await self.engine.stop()
        await self.store.stop()

    def _reply(self) -> Reply:
        if self.error is not None:
            return Reply(ids(self.words), error=self.error)
        return Reply([*ids(self.words), END], pause=self.pause)


@dataclass(frozen=True)
class Gateway:
    url: str
    admin_key: str
    doubles: Doubles


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("cli")
    redis, doubles = RedisServer(folder), Doubles()
    redis.start()
    doubles.start()
    with Redis.from_url(redis.url) as client:
        client.hset(f"chorus:engine:{{{ENGINE}}}", mapping={"address": doubles.engine.address})  # as one that is alive
    port, key = free_port(), generate_key().text
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "CHORUS_GATEWAY_PORT": str(port),
        "CHORUS_GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/gateway.db",
        "CHORUS_JOURNAL_DIR": str(folder / "journal"),
        "CHORUS_REDIS_URL": redis.url,
        "CHORUS_STORE_ADDRESS": doubles.store.address,
        "CHORUS_ENGINE_ADDRESSES": doubles.engine.address,
        "CHORUS_SERVICE_TOKEN": TOKEN,
        "CHORUS_KEY_PEPPER": "a pepper for tests",
        "CHORUS_NAMESPACE_SECRET": "a namespace secret",
        "CHORUS_ADMIN_KEY": key,
    }
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "chorus_gateway"], env=environment, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + READY_SECONDS
        while not ready(url):
            assert process.poll() is None, (folder / "gateway.log").read_text()
            assert time.monotonic() < until, (folder / "gateway.log").read_text()
            time.sleep(0.05)
        yield Gateway(url, key, doubles)
    finally:
        process.terminate()
        process.wait(30)
        doubles.stop()
        redis.stop()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each command is a client of its own, and reading every authority there is for it takes longer than the rest."""
    authority = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text("".join(authority[:2]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture
def tenant(gateway: Gateway) -> str:
    with ChorusAdmin(gateway.url, gateway.admin_key) as admin:
        return admin.tenants.create(f"tenant-{next(_tenants)}").id


@pytest.fixture
def environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An administrator's, with nothing kept."""
    for name in [name for name in os.environ if name.startswith("CHORUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHORUS_BASE_URL", f"{gateway.url}/v1")
    monkeypatch.setenv("CHORUS_ADMIN_KEY", gateway.admin_key)
    monkeypatch.setenv("CHORUS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """Of a table as scripts get it, without its titles."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


Chorus = Callable[..., Ended]


@pytest.fixture
def chorus(environment: None, capsys: pytest.CaptureFixture[str]) -> Chorus:
    """Runs the command in this process."""

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        status = run(arguments)
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return Ended(status, shown.out, shown.err)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter")


def write_adapter(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    files = make_upload(seed=seed)
    (folder / "adapter_config.json").write_bytes(files.config_bytes)
    (folder / "adapter_model.safetensors").write_bytes(files.weights_bytes)
    return folder


@pytest.fixture
def key(chorus: Chorus, tenant: str, monkeypatch: pytest.MonkeyPatch) -> str:
    made: str = json.loads(chorus("keys", "create", "--tenant", tenant, "-o", "json").out)["key"]
    monkeypatch.setenv("CHORUS_API_KEY", made)
    return made


def ask(chorus: Chorus, *arguments: str) -> str:
    answered = chorus("chat", "--model", MODEL, *arguments)
    assert (answered.status, answered.err) == (0, "")
    return answered.out
