"""One stack for all end-to-end tests of a worker, with an OTLP receiver beside it."""

import itertools
from collections.abc import Callable, Iterator

import openai
import pytest

from scripts.stack import envfile
from scripts.stack.seed import TENANT
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.stack import Stack, Tenant, running_stack


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_EXPORTER_OTLP_INSECURE": "true"}
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
