"""What the gateway relies on in an adapter store: the same cases against the real one and its double."""

import hashlib
import itertools
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from chorus_gateway.adapters import Adapter, AdapterClient, State, Target, UploadHeader, Visibility
from chorus_gateway.errors import Conflict, Internal, InvalidRequest, NotFound, QuotaExceeded, Unavailable
from chorus_gateway.values import Limits
from tests.adapter_store.support import BASE, make_upload
from tests.gateway.support.fake_store import TOKEN

_tenants = itertools.count()
FILES = {
    "adapter_config.json": make_upload().config_bytes,
    "adapter_model.safetensors": make_upload().weights_bytes,
}


@pytest.fixture
def tenant() -> str:
    """The real store lives longer than a test."""
    return f"tenant-{next(_tenants)}"


@pytest.fixture
async def client(store_address: str) -> AsyncIterator[AdapterClient]:
    async with grpc.aio.insecure_channel(store_address) as channel:
        yield AdapterClient(channel, token=TOKEN)


async def files(seed: int = 0, config: bytes = b"") -> AsyncIterator[tuple[str, bytes]]:
    upload = make_upload(seed=seed)
    yield "adapter_config.json", config or upload.config_bytes
    weights = upload.weights_bytes
    yield "adapter_model.safetensors", weights[:100]
    yield "adapter_model.safetensors", weights[100:]


async def publish(client: AdapterClient, tenant: str, seed: int = 0, name: str = "sql") -> Adapter:
    return (await client.publish(UploadHeader(tenant, name, BASE.name), files(seed))).adapter


async def test_an_upload_makes_a_generation(client: AdapterClient, tenant: str) -> None:
    published = await client.publish(UploadHeader(tenant, "sql", BASE.name), files())
    adapter = published.adapter
    assert published.created
    assert (adapter.tenant, adapter.name, adapter.model) == (tenant, "sql", BASE.name)
    assert (adapter.generation, adapter.rank, adapter.aliases) == (1, 4, ("latest",))
    assert len(adapter.digest) == 64
    assert "layers.0.self_attn.q_proj" in adapter.modules
    upload = make_upload()
    assert adapter.size == len(upload.config_bytes) + len(upload.weights_bytes)


async def test_the_same_bytes_again_add_nothing(client: AdapterClient, tenant: str) -> None:
    first = await publish(client, tenant)
    again = await client.publish(UploadHeader(tenant, "sql", BASE.name), files())
    assert not again.created
    assert again.adapter.generation == first.generation
    other = await publish(client, tenant, seed=1)
    assert other.generation == first.generation + 1
    assert other.digest != first.digest


async def test_names_versions_and_aliases_resolve(client: AdapterClient, tenant: str) -> None:
    first, second = await publish(client, tenant), await publish(client, tenant, seed=1)
    await client.aliases.set(tenant, "sql", "prod", Target(first.generation))
    wanted = {"": second, "latest": second, "2": second, "1": first, "prod": first}
    for version, adapter in wanted.items():
        found = await client.resolve(tenant, owner="", name="sql", model=BASE.name, version=version)
        assert found.adapter.digest == adapter.digest, version


async def test_another_tenants_adapter_reads_as_none(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    messages = set()
    for owner, name in (("", "sql"), (tenant, "sql"), (tenant, "none"), ("nobody", "sql")):
        with pytest.raises(NotFound) as error:
            await client.resolve("stranger", owner=owner, name=name, model=BASE.name, version="")
        messages.add(error.value.message.replace(f"{owner}/", "").replace(name, "NAME"))
    assert len(messages) == 1


async def test_another_tenants_adapter_is_usable_while_it_is_shared(client: AdapterClient, tenant: str) -> None:
    mine = await publish(client, tenant)
    friend = f"friend-of-{tenant}"

    async def usable(asking: str) -> bool:
        listed = await client.list(asking, usable=True)
        try:
            found = await client.resolve(asking, owner=tenant, name="sql", model=BASE.name, version="")
        except NotFound:
            assert listed == ()
            return False
        assert [each.digest for each in listed] == [found.adapter.digest] == [mine.digest]
        return True

    for visibility, names, users in (
        (Visibility.SHARED, (friend,), (True, False)),
        (Visibility.PUBLIC, (), (True, True)),
        (Visibility.PRIVATE, (), (False, False)),
    ):
        changed = await client.set_visibility(tenant, "sql", visibility, names)
        assert (changed.visibility, changed.shared_with) == (visibility, names)
        assert (await usable(friend), await usable(f"stranger-to-{tenant}")) == users
    with pytest.raises(InvalidRequest, match="shared_with"):
        await client.set_visibility(tenant, "sql", Visibility.SHARED, ())
    with pytest.raises(NotFound):
        await client.set_visibility(tenant, "none", Visibility.PUBLIC, ())


async def test_rollback_moves_latest(client: AdapterClient, tenant: str) -> None:
    first, _ = await publish(client, tenant), await publish(client, tenant, seed=1)
    moved = await client.aliases.set(tenant, "sql", "latest", Target(first.generation))
    assert moved.generation == first.generation
    assert "latest" in moved.aliases
    found = await client.resolve(tenant, owner="", name="sql", model=BASE.name, version="")
    assert found.adapter.digest == first.digest


async def test_a_canary_is_promoted_and_rolled_back(client: AdapterClient, tenant: str) -> None:
    first, second = await publish(client, tenant), await publish(client, tenant, seed=1)

    async def resolved() -> tuple[str, str | None, int]:
        found = await client.resolve(tenant, owner="", name="sql", model=BASE.name, version="prod")
        return found.adapter.digest, found.canary.digest if found.canary else None, found.percent

    await client.aliases.set(tenant, "sql", "prod", Target(1, 2, 10))
    assert await resolved() == (first.digest, second.digest, 10)
    assert [dict(each.canary_of) for each in await client.list(tenant)] == [{"prod": 10}, {}]
    await client.aliases.set(tenant, "sql", "prod", Target(2))
    assert await resolved() == (second.digest, None, 0)
    assert (await client.aliases.rollback(tenant, "sql", "prod")).digest == first.digest
    assert await resolved() == (first.digest, second.digest, 10)
    changes = await client.aliases.changes(tenant, "sql", "prod")
    assert [change.target for change in changes] == [Target(1, 2, 10), Target(2), Target(1, 2, 10)]
    await client.aliases.set(tenant, "sql", "new", Target(1))
    with pytest.raises(Conflict, match="nothing else before"):
        await client.aliases.rollback(tenant, "sql", "new")
    with pytest.raises(NotFound):
        await client.aliases.set(tenant, "sql", "prod", Target(1, 9, 10))
    with pytest.raises(NotFound):
        await client.aliases.changes(tenant, "sql", "none")


async def test_an_alias_is_removed(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    await client.aliases.set(tenant, "sql", "prod", Target(1))
    await client.aliases.remove(tenant, "sql", "prod")
    with pytest.raises(NotFound):
        await client.resolve(tenant, owner="", name="sql", model=BASE.name, version="prod")


async def test_a_list_is_by_name_and_newest_first(client: AdapterClient, tenant: str) -> None:
    for seed, name in ((0, "b"), (1, "b"), (0, "a")):
        await publish(client, tenant, seed, name)
    assert [(adapter.name, adapter.generation) for adapter in await client.list(tenant)] == [
        ("a", 1),
        ("b", 2),
        ("b", 1),
    ]
    assert await client.list("nobody") == ()
    assert len(await client.list()) >= 3


async def test_deleting_one_generation_and_all(client: AdapterClient, tenant: str) -> None:
    for seed in range(3):
        await publish(client, tenant, seed)
    await client.aliases.set(tenant, "sql", "prod", Target(1))
    with pytest.raises(Conflict):
        await client.delete(tenant, "sql", 1)
    assert await client.delete(tenant, "sql", 2) == 1
    assert await client.delete(tenant, "sql", 0) == 2
    with pytest.raises(NotFound):
        await client.delete(tenant, "sql", 0)
    assert (await publish(client, tenant)).generation == 4  # a generation's number is never used again


async def test_a_generation_is_retired_deleted_and_restored(client: AdapterClient, tenant: str) -> None:
    first = await publish(client, tenant)

    async def usable() -> bool:
        try:
            await client.resolve(tenant, owner="", name="sql", model=BASE.name, version="1")
        except NotFound:
            return False
        return True

    assert (first.state, await usable()) == (State.PUBLISHED, True)
    retired = await client.retire(tenant, "sql", 1, "slow")
    assert (retired.state, retired.reason, await usable()) == (State.RETIRED, "slow", False)
    assert [each.state for each in await client.list(tenant)] == [State.RETIRED]
    assert await client.list(tenant, usable=True) == ()
    with pytest.raises(NotFound):
        await client.retire(tenant, "sql", 1)
    assert (await client.restore(tenant, "sql", 1), await usable()) == (1, True)
    assert await client.delete(tenant, "sql", 0, "unused") == 1
    assert await client.list(tenant) == ()
    assert [(each.state, each.reason) for each in await client.list(tenant, deleted=True)] == [
        (State.DELETED, "unused")
    ]
    assert (await client.restore(tenant, "sql", 0), await usable()) == (1, True)
    with pytest.raises(NotFound):
        await client.restore(tenant, "sql", 0)
    with pytest.raises(InvalidRequest):
        await client.publish(UploadHeader(tenant, "sql", BASE.name), files(config=b"{not json"))
    passed = [(each.generation, each.state) for each in await client.history(tenant, "sql")]
    assert passed == [
        (0, State.REFUSED),
        (1, State.PUBLISHED),
        (1, State.DELETED),
        (1, State.PUBLISHED),
        (1, State.RETIRED),
        (1, State.PUBLISHED),
        (1, State.VALIDATED),
        (1, State.UPLOADED),
    ]
    assert await client.history("nobody", "sql") == ()


async def test_an_upload_over_a_quota_is_no_more_than_that(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    header = UploadHeader(tenant, "other", BASE.name)
    with pytest.raises(QuotaExceeded, match="adapters: ") as refused:
        await client.publish(header, files(), Limits(adapters=1))
    assert refused.value.code == "insufficient_quota"
    assert (await client.publish(header, files(), Limits(adapters=2))).created


async def test_what_was_uploaded_is_downloaded(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    adapter = await client.get(tenant, "sql", 1)
    assert adapter.tenant == tenant
    for file, content in FILES.items():
        download = await client.download(adapter.digest, file)
        assert (download.size, download.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert b"".join([chunk async for chunk in download.chunks]) == content
    with pytest.raises(NotFound):
        await client.download("0" * 64, "adapter_config.json")
    with pytest.raises(NotFound):
        await client.get(tenant, "sql", 2)
    await client.delete(tenant, "sql", 1)
    assert (await client.get(tenant, "sql", 1)).state is State.DELETED


async def test_an_unknown_base_is_a_conflict(client: AdapterClient, tenant: str) -> None:
    with pytest.raises(Conflict, match="other"):
        await client.publish(UploadHeader(tenant, "sql", "other"), files())


async def test_a_bad_file_is_refused_by_name(client: AdapterClient, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match=r"adapter_config\.json"):
        await client.publish(UploadHeader(tenant, "sql", BASE.name), files(config=b"{not json"))
    assert await client.list(tenant) == ()


async def test_an_alias_of_digits_is_refused(client: AdapterClient, tenant: str) -> None:
    await publish(client, tenant)
    with pytest.raises(InvalidRequest, match="alias"):
        await client.aliases.set(tenant, "sql", "12", Target(1))


async def test_an_upload_whose_source_fails_leaves_nothing(client: AdapterClient, tenant: str) -> None:
    async def broken() -> AsyncIterator[tuple[str, bytes]]:
        async for chunk in files():
            yield chunk
        raise InvalidRequest("the body was cut off")

    with pytest.raises(InvalidRequest, match="cut off"):
        await client.publish(UploadHeader(tenant, "sql", BASE.name), broken())
    assert await client.list(tenant) == ()


async def test_a_wrong_service_token_is_our_own_fault(store_address: str) -> None:
    async with grpc.aio.insecure_channel(store_address) as channel:
        with pytest.raises(Internal):
            await AdapterClient(channel, token="another-secret-of-16").list("acme")


async def test_an_absent_store_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        client = AdapterClient(channel, token=TOKEN)
        with pytest.raises(Unavailable):
            await client.list("acme")
        with pytest.raises(Unavailable):
            await publish(client, "acme")
