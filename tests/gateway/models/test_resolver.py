import hashlib
import hmac
from dataclasses import replace

import pytest

from chorus_gateway.adapters import Adapter, Resolution, Visibility
from chorus_gateway.errors import ModelNotFound, NotFound, Unavailable
from chorus_gateway.models import ModelCard, Resolver
from chorus_gateway.models.namespace import cache_namespace
from chorus_gateway.values import BaseModel, Needs, Tenant

SECRET = b"a namespace secret"
ACME, RIVAL = Tenant("acme"), Tenant("rival")


class Bases:
    def __init__(self, *names: str) -> None:
        self.names = names

    def get(self, name: str) -> BaseModel | None:
        return next((base for base in self.all() if base.name == name), None)

    def all(self) -> tuple[BaseModel, ...]:
        return tuple(BaseModel(name, f"digest of {name}", "t", 128, (0,), created=7) for name in self.names)


class Store:
    """A catalog in memory."""

    def __init__(self) -> None:
        self.adapters: list[Adapter] = []
        self.canaries: dict[str, tuple[Adapter, int]] = {}  # by alias, with their shares in percent
        self.calls = 0
        self.away = False

    def add(self, tenant: str, name: str, model: str = "base", *aliases: str) -> Adapter:
        generation = 1 + sum(adapter.tenant == tenant and adapter.name == name for adapter in self.adapters)
        digest = hashlib.sha256(f"{tenant} {name} {generation}".encode()).hexdigest()
        adapter = Adapter(tenant, name, model, generation, digest, 8, (), 1, aliases, 100.5 + generation)
        self.adapters.insert(0, adapter)
        return adapter

    async def resolve(self, tenant: str, *, owner: str, name: str, model: str, version: str) -> Resolution:
        self.calls += 1
        if self.away:
            raise Unavailable("away")
        for adapter in self.adapters:
            mine = (adapter.tenant, adapter.name, adapter.model) == (owner or tenant, name, model)
            if mine and can_use(adapter, tenant) and version in ("", str(adapter.generation), *adapter.aliases):
                return Resolution(adapter, *self.canaries.get(version, (None, 0)))
        raise NotFound("no such adapter")

    async def list(self, tenant: str = "", *, usable: bool = False) -> tuple[Adapter, ...]:
        assert usable
        return tuple(adapter for adapter in self.adapters if can_use(adapter, tenant))

    def share(self, owner: str, visibility: Visibility, *tenants: str) -> None:
        self.adapters = [
            replace(adapter, visibility=visibility, shared_with=tenants) if adapter.tenant == owner else adapter
            for adapter in self.adapters
        ]


def can_use(adapter: Adapter, tenant: str) -> bool:
    return tenant in (adapter.tenant, *adapter.shared_with) or adapter.visibility is Visibility.PUBLIC


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def resolver(store: Store) -> Resolver:
    return Resolver(Bases("base"), store, namespace_secret=SECRET, cache_ttl=60.0)


async def test_a_base_model(resolver: Resolver, store: Store) -> None:
    resolved = await resolver.resolve(ACME, "base")
    assert (resolved.base.name, resolved.adapter, resolved.requested) == ("base", None, "base")
    assert store.calls == 0


async def test_all_the_ways_to_name_ones_own_adapter(resolver: Resolver, store: Store) -> None:
    first = store.add("acme", "sql", "base", "prod")
    latest = store.add("acme", "sql")
    for name, adapter in {
        "base@sql": latest,
        "base@acme/sql": latest,
        "base@sql:1": first,
        "base@sql:prod": first,
        "base@acme/sql:2": latest,
        "sql": latest,
        "sql:prod": first,
        "acme/sql": latest,
    }.items():
        resolved = await resolver.resolve(ACME, name)
        assert resolved.adapter == adapter.digest, name
        assert resolved.requested == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "@",
        "@sql",
        "base@",
        "other@sql",
        "base@nothing",
        "base@sql:9",
        "base@theirs",
        "base@rival/theirs",
        "rival/theirs",
        "base@BAD NAME",
        "base@../sql",
        "base@base@sql",
    ],
)
async def test_what_is_not_there_or_not_ones_own_reads_the_same(resolver: Resolver, store: Store, name: str) -> None:
    store.add("acme", "sql")
    store.add("rival", "theirs")
    with pytest.raises(ModelNotFound) as refused:
        await resolver.resolve(ACME, name)
    assert refused.value.message == f"The model '{name}' does not exist or you do not have access to it."
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


async def test_a_bare_name_needs_a_single_base(store: Store) -> None:
    store.add("acme", "sql", "one")
    resolver = Resolver(Bases("one", "two"), store, namespace_secret=SECRET)
    with pytest.raises(ModelNotFound):
        await resolver.resolve(ACME, "sql")
    assert (await resolver.resolve(ACME, "one@sql")).base.name == "one"
    with pytest.raises(ModelNotFound):
        await resolver.resolve(ACME, "two@sql")


async def test_names_are_looked_up_once_until_invalidated(resolver: Resolver, store: Store) -> None:
    old = store.add("acme", "sql")
    for _ in range(5):
        await resolver.resolve(ACME, "base@sql")
        with pytest.raises(ModelNotFound):
            await resolver.resolve(ACME, "base@none")
    assert store.calls == 2
    new = store.add("acme", "sql")
    assert (await resolver.resolve(ACME, "base@sql")).adapter == old.digest
    resolver.invalidate("acme", "sql")
    assert (await resolver.resolve(ACME, "base@sql")).adapter == new.digest


async def test_tenants_do_not_share_the_cache(resolver: Resolver, store: Store) -> None:
    mine, theirs = store.add("acme", "sql"), store.add("rival", "sql")
    assert (await resolver.resolve(ACME, "base@sql")).adapter == mine.digest
    assert (await resolver.resolve(RIVAL, "base@sql")).adapter == theirs.digest


async def test_an_absent_store_is_not_a_missing_model(resolver: Resolver, store: Store) -> None:
    store.add("acme", "sql")
    store.away = True
    with pytest.raises(Unavailable):
        await resolver.resolve(ACME, "base@sql")
    store.away = False
    await resolver.resolve(ACME, "base@sql")


async def test_what_is_known_outlasts_the_store_for_as_long_as_events_are_heard(store: Store) -> None:
    mine, other = store.add("acme", "sql"), store.add("acme", "chat")
    resolver = Resolver(Bases("base"), store, namespace_secret=SECRET, cache_ttl=1e-9)

    async def ask(name: str, *, tenant: Tenant = ACME, away: bool = True) -> str | None:
        store.away = away
        return (await resolver.resolve(tenant, f"base@{name}")).adapter

    resolver.hears(all_events=True)
    for adapter in (mine, other):
        assert await ask(adapter.name, away=False) == adapter.digest
    assert [await ask("sql"), await ask("chat")] == [mine.digest, other.digest]
    for name, tenant in (("never-asked-for", ACME), ("acme/sql", RIVAL)):  # whether it is there or not
        with pytest.raises(Unavailable):
            await ask(name, tenant=tenant)
    resolver.invalidate("acme", "sql")  # it was withdrawn, deleted or has a new generation
    with pytest.raises(Unavailable):
        await ask("sql")
    assert await ask("chat") == other.digest
    resolver.hears(all_events=False)
    with pytest.raises(Unavailable):
        await ask("chat")
    assert await ask("chat", away=False) == other.digest
    with pytest.raises(Unavailable):
        await ask("chat")


async def test_the_list_has_bases_and_ones_own_adapters_once(store: Store) -> None:
    for owner, name, model in (
        ("acme", "sql", "base"),
        ("acme", "sql", "base"),
        ("rival", "x", "base"),
        ("acme", "y", "gone"),
    ):
        store.add(owner, name, model)
    cards = await Resolver(Bases("base"), store, namespace_secret=SECRET).list(ACME)
    assert cards == (ModelCard("base", 7, "chorus"), ModelCard("base@sql", 102, "acme", "base"))


async def test_anothers_adapter_is_named_with_its_owner_while_it_is_shared(resolver: Resolver, store: Store) -> None:
    theirs = store.add("rival", "theirs")
    store.share("rival", Visibility.SHARED, "acme")
    found = await resolver.resolve(ACME, "base@rival/theirs")
    assert (found.adapter, found.owner) == (theirs.digest, "rival")
    assert found.namespace != (await resolver.resolve(RIVAL, "base@theirs")).namespace
    for name in ("base@theirs", "theirs"):
        with pytest.raises(ModelNotFound):
            await resolver.resolve(ACME, name)
    with pytest.raises(ModelNotFound):
        await resolver.resolve(Tenant("stranger"), "base@rival/theirs")
    assert [card.id for card in await resolver.list(ACME)] == ["base", "base@rival/theirs"]
    assert [card.id for card in await resolver.list(RIVAL)] == ["base", "base@theirs"]

    store.share("rival", Visibility.PRIVATE)
    resolver.invalidate("rival", "theirs")  # as the store's event does in every worker
    with pytest.raises(ModelNotFound):
        await resolver.resolve(ACME, "base@rival/theirs")
    assert [card.id for card in await resolver.list(ACME)] == ["base"]


async def test_anothers_adapter_costs_the_store_one_question_whether_it_is_there_or_not(
    resolver: Resolver, store: Store
) -> None:
    store.add("rival", "theirs")
    for name in ("base@rival/theirs", "base@rival/nothing"):
        before = store.calls
        for _ in range(3):
            with pytest.raises(ModelNotFound):
                await resolver.resolve(ACME, name)
        assert store.calls == before + 1


async def test_a_canary_gets_its_share_and_everybody_the_same_each_time(resolver: Resolver, store: Store) -> None:
    main, canary = store.add("acme", "sql", "base", "prod"), store.add("acme", "sql")
    store.canaries["prod"] = (canary, 10)
    users = [f"user {number}" for number in range(2000)]
    chosen = {user: (await resolver.resolve(ACME, "base@sql:prod", user)).adapter for user in users}
    in_canary = sum(digest == canary.digest for digest in chosen.values())
    assert set(chosen.values()) == {main.digest, canary.digest}
    assert 140 < in_canary < 260  # 200 expected, with a deviation of 13
    resolver.hears(all_events=True)
    assert {user: (await resolver.resolve(ACME, "base@sql:prod", user)).adapter for user in users} == chosen
    assert store.calls == 2
    assert (await resolver.resolve(ACME, "base@sql:1", "user 1")).adapter == main.digest


async def test_namespaces(resolver: Resolver, store: Store) -> None:
    store.add("acme", "sql")
    base, adapter = await resolver.resolve(ACME, "base"), await resolver.resolve(ACME, "base@sql")
    rivals = await resolver.resolve(RIVAL, "base")
    assert len({base.namespace, adapter.namespace, rivals.namespace}) == 3
    assert (await resolver.resolve(ACME, "sql")).namespace == adapter.namespace
    message = b"\0\0\0\4acme" + b"\0\0\0\0" + b"\0\0\0\x0edigest of base"
    assert base.namespace == hmac.digest(SECRET, message, "sha256")


def test_moving_a_border_between_fields_changes_the_namespace() -> None:
    one = cache_namespace(SECRET, tenant="ab", adapter="c", base="d")
    assert one != cache_namespace(SECRET, tenant="a", adapter="bc", base="d")
    assert one != cache_namespace(b"another", tenant="ab", adapter="c", base="d")


async def test_what_an_engine_must_serve_comes_with_the_adapter(resolver: Resolver, store: Store) -> None:
    plain = store.add("acme", "sql")
    modules = ("layers.0.self_attn.q_proj", "lm_head")
    store.adapters = [replace(plain, rank=32, modules=modules)]
    assert (await resolver.resolve(ACME, "base@sql")).needs == Needs(32, frozenset({"lm_head"}))
    assert (await resolver.resolve(ACME, "base")).needs == Needs()
