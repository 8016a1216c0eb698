"""POST /admin/v1/adapters: what is refused, what reaches the store, and that nothing is left of what was cut off."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from chorus_gateway.db import Database
from chorus_gateway.values import Scope, Tenant
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.support.door import Door, open_door
from tests.gateway.support.fake_store import FakeStore
from tests.gateway.support.gateway import eventually, served

PATH = "/admin/v1/adapters"
BOUNDARY = "a-boundary"
UPLOAD = make_upload()
FIELDS = (("tenant", b"acme"), ("name", b"sql"), ("model", BASE.name.encode()))
FILES = (("adapter_config", UPLOAD.config_bytes), ("adapter_model", UPLOAD.weights_bytes))
TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture(autouse=True)
async def acme(door: Door) -> None:
    await door.parts.tenants.create(Tenant("acme"))


def form(parts: Sequence[tuple[str, bytes]], *, close: bool = True) -> bytes:
    body = b""
    for name, data in parts:
        filename = f'; filename="{name}"' if name.startswith("adapter") else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
        body += data + b"\r\n"
    return body + (f"--{BOUNDARY}--\r\n".encode() if close else b"")


async def post(door: Door, body: Any, **headers: str) -> httpx.Response:
    return await door.http.post(PATH, content=body, headers=door.admin | TYPE | headers)


async def refused(door: Door, body: Any, status: int, words: str, param: str | None = None) -> None:
    answer = await post(door, body)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert words in error["message"]
    assert error["param"] == param


async def test_an_upload_reaches_the_store(door: Door, fake_store: FakeStore) -> None:
    answer = await post(door, form([*FIELDS, *FILES]))
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert shown.pop("created_at") > 0
    assert len(shown.pop("digest")) == 64
    assert shown == {
        "tenant": "acme",
        "name": "sql",
        "model": BASE.name,
        "generation": 1,
        "rank": 4,
        "modules": ["layers.0.self_attn.q_proj"],
        "bytes": len(UPLOAD.config_bytes) + len(UPLOAD.weights_bytes),
        "aliases": ["latest"],
        "visibility": "private",
        "shared_with": [],
        "canary_of": {},
        "state": "published",
        "reason": "",
    }
    [stored] = fake_store.files.values()
    assert stored == {"adapter_config.json": UPLOAD.config_bytes, "adapter_model.safetensors": UPLOAD.weights_bytes}
    assert (await post(door, form([*FIELDS, *FILES]))).status_code == 200


async def test_the_same_through_httpx_and_in_another_order(door: Door, fake_store: FakeStore) -> None:
    answer = await door.http.post(
        PATH,
        data={"model": BASE.name, "name": "sql", "tenant": "acme"},
        files=[
            ("adapter_model", ("m.safetensors", UPLOAD.weights_bytes)),
            ("adapter_config", ("c", UPLOAD.config_bytes)),
        ],
        headers=door.admin,
    )
    assert answer.status_code == 201, answer.text
    assert fake_store.adapters[0].name == "sql"


async def test_any_cut_of_the_body_into_pieces_gives_the_same(door: Door, fake_store: FakeStore) -> None:
    body = form([*FIELDS, *FILES])

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    assert (await post(door, pieces())).status_code == 201
    [stored] = fake_store.files.values()
    assert stored["adapter_model.safetensors"] == UPLOAD.weights_bytes


async def test_a_file_before_the_fields_is_told_the_order(door: Door) -> None:
    await refused(door, form([*FILES, *FIELDS]), 400, "send the fields tenant, name, model before the files", "tenant")
    late = [*FIELDS[:2], FILES[0], FIELDS[2], FILES[1]]
    await refused(door, form(late), 400, "The field 'model' is missing; send the fields", "model")


@pytest.mark.parametrize("missing", ["tenant", "name", "model", "adapter_config", "adapter_model"])
async def test_a_missing_part_is_named(door: Door, fake_store: FakeStore, missing: str) -> None:
    parts = [part for part in (*FIELDS, *FILES) if part[0] != missing]
    await refused(door, form(parts), 400, f"'{missing}'", missing)
    assert fake_store.adapters == []


async def test_unknown_and_repeated_parts_are_named(door: Door, fake_store: FakeStore) -> None:
    await refused(door, form([("extra", b"x"), *FIELDS, *FILES]), 400, "The part 'extra' is unknown", "extra")
    await refused(door, form([*FIELDS, *FILES, ("adapter_zip", b"x")]), 400, "'adapter_zip' is unknown", "adapter_zip")
    await refused(door, form([*FIELDS, FIELDS[0], *FILES]), 400, "The part 'tenant' is there twice", "tenant")
    await refused(door, form([*FIELDS, *FILES, FILES[1]]), 400, "'adapter_model' is there twice", "adapter_model")
    assert fake_store.adapters == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tenant", b"Acme!", "'Acme!' is not 1 to 64 of"),
        ("name", b"", "'' is not 1 to 64 of"),
        ("name", b"../../etc", "is not 1 to 64 of"),
        ("name", b"\xff", "not valid UTF-8"),
        ("name", b"x" * 2000, "longer than 1024 bytes"),
    ],
)
async def test_malformed_fields_are_named(door: Door, field: str, value: bytes, words: str) -> None:
    parts = [(name, value if name == field else data) for name, data in (*FIELDS, *FILES)]
    await refused(door, form(parts), 400, words, field)


async def test_an_unknown_tenant_is_404(door: Door, fake_store: FakeStore) -> None:
    await refused(door, form([("tenant", b"nobody"), *FIELDS[1:], *FILES]), 404, "no tenant 'nobody'", "tenant")
    assert fake_store.received == 0


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "text/plain; boundary=x", ""])
async def test_another_content_type_is_refused(door: Door, content_type: str) -> None:
    answer = await post(door, b"{}", **{"content-type": content_type})
    assert answer.status_code == 400
    assert "multipart/form-data with a boundary" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"no boundary at all", b"--another\r\n\r\n"])
async def test_a_malformed_body_is_400(door: Door, body: bytes) -> None:
    answer = await post(door, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
async def test_a_body_that_ends_early_leaves_nothing(door: Door, fake_store: FakeStore, keep: float) -> None:
    body = form([*FIELDS, *FILES])
    answer = await post(door, body[: int(len(body) * keep)])
    assert answer.status_code == 400
    assert fake_store.adapters == []
    await eventually(lambda: fake_store.cut_off == 1)


async def test_a_client_that_goes_away_leaves_nothing(door: Door, fake_store: FakeStore) -> None:
    body = form([*FIELDS, *FILES])
    async with served(door.app) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        lines = [f"POST {PATH} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (door.admin | TYPE).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[:-200])
        await writer.drain()
        await eventually(lambda: fake_store.received > 0)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await eventually(lambda: fake_store.cut_off == 1)
    assert fake_store.adapters == []


async def test_a_declared_length_over_the_limit_is_refused_unread(door: Door, fake_store: FakeStore) -> None:
    answer = await post(door, form([*FIELDS, FILES[0], ("adapter_model", bytes(2 << 20))]))
    assert answer.status_code == 413
    assert "at most 1048576 bytes" in answer.json()["error"]["message"]
    assert fake_store.metadata == []


async def test_a_length_that_grows_over_the_limit_is_refused(door: Door, fake_store: FakeStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield form([*FIELDS, FILES[0], ("adapter_model", b"")], close=False)[:-2]
        while True:
            yield bytes(100_000)

    answer = await post(door, endless())
    assert answer.status_code == 413
    assert fake_store.adapters == []
    await eventually(lambda: fake_store.cut_off == 1)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.FAILED_PRECONDITION, 409),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
async def test_what_the_store_says_is_answered(
    door: Door, fake_store: FakeStore, code: grpc.StatusCode, status: int
) -> None:
    fake_store.fail_with = (code, "rank: 128 is above the limit of 64")
    answer = await post(door, form([*FIELDS, *FILES]))
    assert answer.status_code == status
    told = "rank: 128 is above the limit of 64" in answer.json()["error"]["message"]
    assert told == (status < 500)  # faults of ours are not the client's to read


async def test_why_the_store_cannot_is_answered_where_the_store_says_it(door: Door, fake_store: FakeStore) -> None:
    fake_store.fail_with = (grpc.StatusCode.UNAVAILABLE, "the store's disk failed (No space left on device)")
    fake_store.fail_metadata = (("chorus-said", "1"),)
    answer = await post(door, form([*FIELDS, *FILES]))
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The store's disk failed (No space left on device)"


async def test_the_store_may_refuse_before_the_end(door: Door, fake_store: FakeStore) -> None:
    fake_store.max_bytes = 1000

    async def slow() -> AsyncIterator[bytes]:
        yield form([*FIELDS, FILES[0], ("adapter_model", b"")], close=False)[:-2]
        for _ in range(20):
            yield bytes(20_000)
            await asyncio.sleep(0.01)

    await refused(door, slow(), 413, "more than 1000 bytes")


async def test_memory_does_not_grow_with_the_upload(door: Door) -> None:
    body = form([*FIELDS, FILES[0], ("adapter_model", bytes(900_000))])

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 16_384):
            yield body[start : start + 16_384]

    # The double keeps what it gets; only what the gateway's own code holds is counted.
    tracemalloc.start()
    try:
        assert (await post(door, pieces())).status_code == 201
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/chorus_gateway/*")])
        held = sum(statistic.size for statistic in taken.statistics("filename"))
    finally:
        tracemalloc.stop()
    assert held < 500_000


async def test_a_tenants_adapters_key_is_for_its_own_adapters(door: Door) -> None:
    headers = await door.tenant_key("acme", Scope.ADAPTERS) | TYPE
    mine = await door.http.post(PATH, content=form([*FIELDS, *FILES]), headers=headers)
    theirs = await door.http.post(PATH, content=form([("tenant", b"rival"), *FIELDS[1:], *FILES]), headers=headers)
    assert (mine.status_code, theirs.status_code) == (201, 403)
    assert theirs.json()["error"]["param"] == "tenant"


async def test_a_new_generation_is_served_at_once(door: Door) -> None:
    await post(door, form([*FIELDS, *FILES]))
    first = await door.parts.resolver.resolve(Tenant("acme"), "sql")
    other = make_upload(seed=1)
    await post(door, form([*FIELDS, ("adapter_config", other.config_bytes), ("adapter_model", other.weights_bytes)]))
    assert (await door.parts.resolver.resolve(Tenant("acme"), "sql")).adapter != first.adapter


async def test_the_trace_goes_on_to_the_store(database: Database, redis: Redis, fake_store: FakeStore) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with open_door(database, redis, fake_store.address, model=BASE.name, tracer_provider=provider) as door:
        answer = await post(door, form([*FIELDS, *FILES]), traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert answer.status_code == 201
    [span] = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == trace
    assert fake_store.metadata[0]["traceparent"] == f"00-{trace}-{span.context.span_id:016x}-01"
