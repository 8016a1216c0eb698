"""TLS by setting: the engine shows its certificate."""

from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from chorus_engine.core.errors import StartError
from chorus_engine.rpc import Credentials, create_server, read_credentials
from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1.engine_pb2_grpc import EngineStub
from tests.contracts.engine.support.gateway import METADATA
from tests.contracts.engine.support.process import TOKEN
from tests.engine.rpc.fakes import Bench, make_service
from tests.support.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def read(files: Certificates) -> Credentials:
    return read_credentials(files.cert, files.key, files.ca)


async def engine_id(channel: grpc.aio.Channel) -> str:
    async with channel:
        answer = await EngineStub(channel).Describe(pb.DescribeRequest(), metadata=METADATA, timeout=60)  # type: ignore[misc]  # the stubs' own way
        return str(answer.engine_id)


async def test_a_client_with_the_ca_is_answered_and_no_other(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    ours, others = read(certificates), read(make_certificates(tmp_path, "stranger"))
    assert ours.roots is not None
    assert ours.roots != others.roots
    service = make_service(Bench().sessions, tmp_path)
    server, port = create_server(service, address="127.0.0.1:0", token=TOKEN, credentials=ours.server)
    await server.start()
    address = f"127.0.0.1:{port}"
    known, unknown = (grpc.ssl_channel_credentials(each.roots) for each in (ours, others))
    assert await engine_id(grpc.aio.secure_channel(address, known)) == "e1"
    for stranger in (grpc.aio.secure_channel(address, unknown), grpc.aio.insecure_channel(address)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await engine_id(stranger)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    await server.stop(0)


def test_without_files_it_is_plain_text() -> None:
    assert read_credentials(None, None, None) == Credentials()


@pytest.mark.parametrize(
    ("given", "missing"),
    [("cert", "CHORUS_TLS_KEY, CHORUS_TLS_CA"), ("key", "CHORUS_TLS_CERT, CHORUS_TLS_CA")],
)
def test_a_part_is_refused(certificates: Certificates, given: str, missing: str) -> None:
    files = {"cert": None, "key": None, "ca": None, given: certificates.key}
    with pytest.raises(StartError, match=f"or none of them; missing: {missing}"):
        read_credentials(**files)


def test_what_is_no_certificate_or_key_is_named(tmp_path: Path, certificates: Certificates) -> None:
    other = make_certificates(tmp_path, "other")
    with pytest.raises(StartError, match="CHORUS_TLS_CA='/dev/null' holds no PEM certificates"):
        read(replace(certificates, ca=Path("/dev/null")))
    with pytest.raises(StartError, match="CHORUS_TLS_KEY='/nowhere' cannot be read: No such file"):
        read(replace(certificates, key=Path("/nowhere")))
    with pytest.raises(StartError, match=r"are not a PEM certificate and its unencrypted key: .*MISMATCH"):
        read(replace(certificates, key=other.key))
