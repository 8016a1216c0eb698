"""Every method of the client against the gateway's application."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from chorus_client import (
    AdapterFiles,
    Canary,
    ChorusAdmin,
    Conflict,
    EngineState,
    HeldCounts,
    InvalidRequest,
    Limits,
    NotFound,
    PermissionDenied,
    Pin,
    QuotaExceeded,
    State,
    Tier,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Visibility,
)
from chorus_proto.adapters.v1 import adapters_pb2 as pb
from tests.adapter_store.support import BASE
from tests.client.conftest import Running, write_adapter

pytestmark = pytest.mark.xdist_group("client")  # one gateway for all of them

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def test_tenants(admin: ChorusAdmin) -> None:
    made = admin.tenants.create("zeta", weight=2, limits=Limits(adapters=3))
    assert (made.id, made.weight, made.limits) == ("zeta", 2.0, Limits(adapters=3))
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)
    with pytest.raises(Conflict, match="zeta"):
        admin.tenants.create("zeta")
    changed = admin.tenants.change("zeta", weight=1, limits={"adapters": None, "adapter_rank": 8})
    assert (changed.weight, changed.limits) == (1.0, Limits(adapter_rank=8))
    assert admin.tenants.get("zeta") == changed
    assert changed in admin.tenants.list()


def test_keys(admin: ChorusAdmin, tenant: str, gateway: Running) -> None:
    made = admin.keys.create(tenant, scopes=("infer", "adapters"), expires_in=timedelta(days=1), name="ci")
    assert (made.scopes, made.name, made.tenant) == (("adapters", "infer"), "ci", tenant)
    assert made.expires_at is not None
    assert timedelta(hours=23) < made.expires_at - made.created_at < timedelta(hours=25)
    assert made.key.startswith("chorus_")
    assert made.key not in repr(made)
    with ChorusAdmin(gateway.url, made.key) as own, pytest.raises(PermissionDenied):
        own.tenants.list()
    assert [key.id for key in admin.keys.list(tenant)] == [made.id]
    assert admin.keys.revoke(made.id).revoked_at is not None
    with ChorusAdmin(gateway.url, made.key) as own, pytest.raises(Unauthenticated) as refused:
        list(own.adapters.list())
    assert refused.value.code == "invalid_api_key"


def test_an_upload_comes_back_byte_for_byte(admin: ChorusAdmin, tenant: str, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    upload = admin.adapters.upload(tenant, "sql", BASE.name, folder, progress=lambda *now: told.append(now))
    total = sum((folder / file).stat().st_size for file in ADAPTER)
    assert (upload.created, upload.adapter.generation, upload.adapter.bytes) == (True, 1, total)
    assert (upload.adapter.state, upload.adapter.visibility) == (State.PUBLISHED, Visibility.PRIVATE)
    assert told == sorted(told)
    assert told[-1] == (total, total)
    files = AdapterFiles(folder / ADAPTER[0], folder / ADAPTER[1])
    assert not admin.adapters.upload(tenant, "sql", BASE.name, files).created
    told.clear()
    target = tmp_path / "back"
    back = admin.adapters.download(tenant, "sql", 1, target, progress=lambda *now: told.append(now))
    assert (back.config.read_bytes(), back.weights.read_bytes()) == tuple(
        (folder / file).read_bytes() for file in ADAPTER
    )
    assert told[-1] == (total, total)
    assert sorted(path.name for path in target.iterdir()) == sorted(ADAPTER)


def test_an_import_is_an_upload(admin: ChorusAdmin, tenant: str, folder: Path, gateway: Running) -> None:
    source = f"s3://adapters/{tenant}"
    gateway.store.bucket[source] = {file: (folder / file).read_bytes() for file in ADAPTER}
    assert admin.adapters.import_from(source, tenant=tenant, name="sql", model=BASE.name).created
    assert not admin.adapters.import_from(source, tenant=tenant, name="sql", model=BASE.name).created
    with pytest.raises(InvalidRequest, match="source: "):
        admin.adapters.import_from("https://example.com/x", tenant=tenant, name="sql", model=BASE.name)


def test_lists_come_page_by_page(admin: ChorusAdmin, tenant: str, tmp_path: Path) -> None:
    for seed in range(5):
        admin.adapters.upload(tenant, "sql", BASE.name, write_adapter(tmp_path / str(seed), seed))
    found = admin.adapters.list(tenant, page_size=2)
    assert [adapter.generation for adapter in found] == [5, 4, 3, 2, 1]
    assert {adapter.tenant for adapter in admin.adapters.list()} >= {tenant}
    assert list(admin.adapters.list("nobody")) == []


def test_a_generation_comes_and_goes(admin: ChorusAdmin, tenant: str, folder: Path) -> None:
    admin.adapters.upload(tenant, "sql", BASE.name, folder)
    retired = admin.adapters.retire(tenant, "sql", 1, reason="slow")
    assert (retired.state, retired.reason) == (State.RETIRED, "slow")
    assert admin.adapters.restore(tenant, "sql", 1) == 1
    assert admin.adapters.delete(tenant, "sql", reason="unused") == 1
    assert list(admin.adapters.list(tenant)) == []
    assert [adapter.state for adapter in admin.adapters.list(tenant, deleted=True)] == [State.DELETED]
    assert admin.adapters.restore(tenant, "sql") == 1
    assert admin.adapters.get(tenant, "sql", 1).state is State.PUBLISHED
    newest, before = admin.adapters.history(tenant, "sql")[:2]
    assert (newest.state, before.state, before.reason) == (State.PUBLISHED, State.DELETED, "unused")
    assert admin.adapters.delete(tenant, "sql", 1) == 1
    with pytest.raises(NotFound):
        admin.adapters.get(tenant, "sql", 7)


def test_visibility(admin: ChorusAdmin, tenant: str, folder: Path) -> None:
    admin.adapters.upload(tenant, "sql", BASE.name, folder)
    shared = admin.adapters.set_visibility(tenant, "sql", Visibility.SHARED, ["friend"])
    assert (shared.visibility, shared.shared_with) == (Visibility.SHARED, ("friend",))
    assert admin.adapters.set_visibility(tenant, "sql", Visibility.PUBLIC).shared_with == ()


def test_an_alias_is_a_canary_promoted_and_rolled_back(admin: ChorusAdmin, tenant: str, tmp_path: Path) -> None:
    for seed in range(2):
        admin.adapters.upload(tenant, "sql", BASE.name, write_adapter(tmp_path / str(seed), seed))
    assert "prod" in admin.aliases.set(tenant, "sql", "prod", 1, canary=Canary(2, percent=10)).aliases
    assert admin.adapters.get(tenant, "sql", 2).canary_of == {"prod": 10}
    admin.aliases.set(tenant, "sql", "prod", 2)
    assert admin.aliases.rollback(tenant, "sql", "prod").generation == 1
    changes = admin.aliases.changes(tenant, "sql", "prod")
    assert [(change.generation, change.canary) for change in changes] == [
        (1, Canary(2, 10)),
        (2, None),
        (1, Canary(2, 10)),
    ]
    admin.aliases.remove(tenant, "sql", "prod")
    with pytest.raises(NotFound):
        admin.aliases.remove(tenant, "sql", "prod")


def test_pins_engines_and_residency(admin: ChorusAdmin, tenant: str, folder: Path, gateway: Running) -> None:
    digest = admin.adapters.upload(tenant, "sql", BASE.name, folder).adapter.digest
    held = pb.Resident(digest=digest, tier=pb.TIER_GPU, state="ready", leases=1, pinned=True, last_use=1.5)
    engine = pb.Engine(engine_id="e1", address="host:1", model=BASE.name, slots=4, free_slots=3, residents=[held])
    gateway.store.engines = [engine]
    pin = admin.pins.set(tenant, "sql", engines=1)
    assert pin == Pin(tenant, "sql", "latest", Tier.GPU, engines=1, held=1)
    assert admin.pins.get(tenant, "sql") == pin
    assert admin.pins.list(tenant) == (pin,)
    assert pin in admin.pins.list()
    admin.pins.remove(tenant, "sql")
    with pytest.raises(NotFound, match="not pinned"):
        admin.pins.get(tenant, "sql")
    (found,) = admin.engines.list()
    assert (found.id, found.state, found.slots, found.slots_free) == ("e1", EngineState.READY, 4, 3)
    assert found.adapters == HeldCounts(gpu=1, host=0, loading=0, pinned=1, leases=1)
    residency = admin.adapters.residency(tenant, "sql")
    assert (residency.generation, residency.digest) == (1, digest)
    (resident,) = residency.residents
    assert (resident.engine, resident.tier, resident.state, resident.pinned) == ("e1", Tier.GPU, "ready", True)
    assert admin.adapters.residency(tenant, "sql", 1) == residency
    gateway.store.engines = []


def test_what_is_refused_says_why(admin: ChorusAdmin, tenant: str, folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="name: ") as refused:
        admin.adapters.upload(tenant, "No Name", BASE.name, folder)
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, "name", None)
    assert refused.value.request_id
    assert refused.value.request_id in str(refused.value)
    with pytest.raises(NotFound, match="nobody"):
        admin.tenants.get("nobody")
    admin.adapters.upload(tenant, "sql", BASE.name, folder)
    admin.tenants.change(tenant, limits={"adapters": 1})
    with pytest.raises(QuotaExceeded) as refused_by_quota:
        admin.adapters.upload(tenant, "second", BASE.name, folder)
    assert refused_by_quota.value.code == "insufficient_quota"
    with pytest.raises(FileNotFoundError):
        admin.adapters.upload(tenant, "sql", BASE.name, folder / "none")


def test_a_file_over_the_limit_is_refused(admin: ChorusAdmin, tenant: str, folder: Path) -> None:
    with (folder / ADAPTER[1]).open("r+b") as weights:
        weights.truncate(8 << 20)
    with pytest.raises(InvalidRequest, match="1048576") as refused:
        admin.adapters.upload(tenant, "sql", BASE.name, folder)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


def test_a_name_is_never_another_route(admin: ChorusAdmin) -> None:
    for name in ("../../tenants", "a/b", "a?b", "%2e%2e"):
        with pytest.raises(NotFound) as refused:
            admin.adapters.get("acme", name, 1)
        assert refused.value.code in (None, "unknown_url")


def test_a_gateway_behind_which_something_is_away(admin: ChorusAdmin, gateway: Running) -> None:
    gateway.store.fail_with = (grpc.StatusCode.UNAVAILABLE, "away")
    try:
        with pytest.raises(Unavailable, match="adapter store"):
            admin.engines.list()
    finally:
        gateway.store.fail_with = None


def test_nobody_there() -> None:
    with (
        ChorusAdmin("http://127.0.0.1:1/v1/", "a key", retries=0) as admin,
        pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1"),
    ):
        admin.tenants.list()
    assert repr(admin) == "ChorusAdmin('http://127.0.0.1:1', '…')"
