"""The connection, over TLS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from chorus_gateway.credentials import read_credentials
from chorus_gateway.engine_client.client import EngineClient
from chorus_gateway.errors import StartError
from chorus_proto.engine.v1 import engine_pb2_grpc
from tests.gateway.engine_client.test_client import Log
from tests.gateway.support.fake_engine import TOKEN, FakeEngine, Reply
from tests.gateway.support.gateway import eventually
from tests.support.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def address(certificates: Certificates) -> AsyncIterator[str]:
    server = grpc.aio.server()
    engine_pb2_grpc.add_EngineServicer_to_server(FakeEngine(replier=lambda submit: Reply([])), server)
    credentials = grpc.ssl_server_credentials([(certificates.key.read_bytes(), certificates.cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_only_with_the_ca_a_session_opens(address: str, certificates: Certificates) -> None:
    clients = [
        EngineClient(address, service_token=TOKEN, worker_id="w", created=7, events=Log(), credentials=credentials)
        for credentials in (read_credentials(certificates.ca), read_credentials(None))
    ]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    await eventually(lambda: clients[0].session is not None)
    await asyncio.sleep(0.3)
    assert clients[1].session is None
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("ca", "words"), [("/dev/null", "holds no PEM certificates"), ("/nowhere", "cannot be read: No such file")]
)
def test_a_ca_that_cannot_be_used_is_one_sentence(ca: str, words: str) -> None:
    with pytest.raises(StartError, match=f"^CHORUS_TLS_CA='{ca}' {words}"):
        read_credentials(Path(ca))
