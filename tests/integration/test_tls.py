"""The whole stack with TLS between its services."""

from collections.abc import Iterator

import grpc
import pytest

from scripts.stack import envfile
from scripts.stack.seed import TENANT
from tests.support.certificates import make_certificates
from tests.support.stack import Stack, Tenant, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("tls"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def secure_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = make_certificates(tmp_path_factory.mktemp("certificates")).settings()
    with running_stack(tmp_path_factory.mktemp("stack"), settings) as stack:
        yield stack


def test_an_uploaded_adapter_answers(secure_stack: Stack) -> None:
    """Its upload went through gateway and store, its base was described by the engine, its files were fetched by it."""
    demo = Tenant(secure_stack, TENANT, envfile.read(secure_stack.config.state / "env")["CHORUS_API_KEY"])
    with demo.client() as client:
        answer = client.chat.completions.create(
            model="chorus-demo@reverse",
            messages=[{"role": "user", "content": "Reverse the word garden."}],
            temperature=0,
            max_tokens=24,
        )
    assert answer.choices[0].message.content == "nedrag"


@pytest.mark.parametrize("port", ["CHORUS_ENGINE_PORT", "CHORUS_STORE_PORT"])
def test_plain_text_is_not_answered(secure_stack: Stack, port: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{secure_stack.config.ports[port]}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            call(b"", timeout=60)
