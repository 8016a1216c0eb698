"""Who may call the store."""

from dataclasses import replace

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import make_upload
from tests.contracts.adapters.conftest import Client
from tests.contracts.adapters.test_store import refusal


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", ""),)])
async def test_every_method_needs_the_token(client: Client, metadata: tuple[tuple[str, str], ...]) -> None:
    intruder = replace(client, metadata=metadata)
    for call in (
        intruder.publish(make_upload()),
        intruder.resolve(),
        intruder.fetch("0" * 64),
        intruder.list(),
        intruder.set_alias("prod", 1),
        intruder.share(pb.VISIBILITY_PUBLIC),
        intruder.rollback("prod"),
        intruder.get(1),
        intruder.retire(1),
        intruder.restore(),
        intruder.history(),
        intruder.changes("prod"),
        intruder.delete(),
    ):
        assert (await refusal(call))[0] == StatusCode.UNAUTHENTICATED


async def test_health_needs_none(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "chorus.adapters.v1.AdapterStore"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
