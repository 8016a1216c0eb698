"""One stack for all end-to-end tests of a worker, with an OTLP receiver and an S3-compatible server beside it."""

import itertools
from collections.abc import Callable, Iterator

import openai
import pytest

from scripts.stack import envfile
from scripts.stack.seed import TENANT
from tests.adapter_store.s3 import CREDENTIALS, S3Server, running_s3
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.stack import Stack, Tenant, running_stack


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Adapters may be imported from its bucket `models`."""
    with running_s3() as server:
        server.make_bucket("models")
        yield server


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, s3: S3Server) -> Iterator[Stack]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "CHORUS_IMPORT_BUCKETS": "models",
        "CHORUS_S3_ENDPOINT_URL": s3.url,
        **CREDENTIALS,
    }
    with running_stack(tmp_path_factory.mktemp("stack"), settings) as stack:
        yield stack


@pytest.fixture(scope="session")
def demo(stack: Stack) -> Tenant:
    """The tenant that has the demo's adapters."""
    return Tenant(stack, TENANT, envfile.read(stack.config.state / "env")["CHORUS_API_KEY"])


@pytest.fixture
def client(demo: Tenant) -> Iterator[openai.OpenAI]:
    with demo.client() as client:
        yield client


@pytest.fixture(scope="session")
def new_tenant(stack: Stack) -> Callable[[], Tenant]:
    numbers = itertools.count(1)
    return lambda: stack.new_tenant(f"tenant-{next(numbers)}")
