"""TLS by setting: the store shows its certificate, and checks that of the engine it asks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from chorus_proto.adapters.v1 import adapters_pb2_grpc
from chorus_proto.engine.v1 import engine_pb2_grpc
from tests.adapter_store.process import TOKEN, running
from tests.adapter_store.service.conftest import RedisServer
from tests.adapter_store.service.test_redis import DescribingEngine, eventually
from tests.adapter_store.service.test_start import run
from tests.adapter_store.support import BASE
from tests.support.certificates import Certificates, make_certificates

METADATA = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def engine_address(certificates: Certificates) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(DescribingEngine(BASE), server)
    credentials = grpc.ssl_server_credentials([(certificates.key.read_bytes(), certificates.cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def code(channel: grpc.Channel) -> grpc.StatusCode:
    """How the store answers to a name that it does not have."""
    with channel, pytest.raises(grpc.RpcError) as caught:
        adapters_pb2_grpc.AdapterStoreStub(channel).Resolve(
            pb.ResolveRequest(tenant="acme", name="none", model="demo"), metadata=METADATA, timeout=60
        )
    found: grpc.StatusCode = caught.value.code()
    return found


def test_a_client_with_the_ca_is_answered_and_no_other(tmp_path: Path, certificates: Certificates) -> None:
    stranger = make_certificates(tmp_path, "stranger")
    with running(tmp_path, BASE, **certificates.settings()) as store:

        def by(ca: Path) -> grpc.Channel:
            return grpc.secure_channel(store.address, grpc.ssl_channel_credentials(ca.read_bytes()))

        assert code(by(certificates.ca)) == grpc.StatusCode.NOT_FOUND
        assert code(by(stranger.ca)) == grpc.StatusCode.UNAVAILABLE
        assert code(grpc.insecure_channel(store.address)) == grpc.StatusCode.UNAVAILABLE


def test_an_engine_is_asked_over_tls(
    tmp_path: Path, redis_process: RedisServer, certificates: Certificates, engine_address: str
) -> None:
    redis = redis_process.client()
    redis.zadd("chorus:engines", {"one": 1.0})
    redis.hset("chorus:engine:{one}", mapping={"address": engine_address, "model_digest": BASE.digest})
    with running(tmp_path, CHORUS_REDIS_URL=redis_process.url, **certificates.settings()) as store:
        eventually(lambda: "base model learned" in store.messages())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CHORUS_TLS_KEY": ""}, "CHORUS_TLS_CA, or none of them; missing: CHORUS_TLS_KEY"),
        ({"CHORUS_TLS_CERT": "/nowhere"}, "CHORUS_TLS_CERT='/nowhere' cannot be read: No such file or directory"),
        ({"CHORUS_TLS_CA": "/dev/null"}, "CHORUS_TLS_CA='/dev/null' holds no PEM certificates"),
        (
            {"CHORUS_TLS_KEY": "/dev/null"},
            "CHORUS_TLS_KEY='/dev/null' are not a PEM certificate and its unencrypted key",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    tmp_path: Path, certificates: Certificates, changes: dict[str, str], words: str
) -> None:
    finished = run(tmp_path, **certificates.settings() | changes)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("adapter-store: ")
    assert words in line
