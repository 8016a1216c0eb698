import pytest

from chorus_gateway.errors import ModelNotFound
from chorus_gateway.models import Resolver
from chorus_gateway.models.allowed import allows_adapter, allows_base, parse_allowed
from chorus_gateway.values import Tenant
from tests.gateway.models.test_resolver import Bases, Store

ACME, RIVAL = Tenant("acme"), Tenant("rival")


@pytest.mark.parametrize(
    "text", ["base", "base@sql", "base@acme/sql", "base@*", "org/base", "org/base@acme/sql", "a@b@*"]
)
def test_what_names_models(text: str) -> None:
    assert parse_allowed(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " base", "base ", "two words", "@sql", "@*", "base@", "base@sql:1", "base@SQL", "base@/sql", "base@a/b/c"],
)  # fmt: skip
def test_what_names_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"it must|a model has"):
        parse_allowed(text)


def test_no_list_allows_everything() -> None:
    assert allows_base(None, "base")
    assert allows_adapter(None, "base", "rival", "theirs", "acme")


@pytest.mark.parametrize(
    ("allowed", "base", "own", "others"),
    [
        ({"base"}, True, False, False),
        ({"base@*"}, False, True, True),
        ({"base@sql"}, False, True, False),  # another's adapter of the same name is another one
        ({"base@acme/sql"}, False, True, False),
        ({"base@rival/sql"}, False, False, True),
        ({"other", "other@*", "other@sql", "other@rival/sql"}, False, False, False),
        (set(), False, False, False),
    ],
)
def test_a_list(allowed: set[str], base: bool, own: bool, others: bool) -> None:
    models = frozenset(allowed)
    assert allows_base(models, "base") == base
    assert allows_adapter(models, "base", "acme", "sql", "acme") == own
    assert allows_adapter(models, "base", "rival", "sql", "acme") == others


async def test_what_a_key_may_not_use_reads_like_what_does_not_exist() -> None:
    store = Store()
    store.add("acme", "sql")
    resolver = Resolver(Bases("base"), store, namespace_secret=b"a namespace secret", cache_ttl=60.0)
    allowed = frozenset({"base@tone"})
    messages = []
    for name in ("base@sql", "base@sql:1", "sql", "base@acme/sql", "base", "base@none", "none"):
        with pytest.raises(ModelNotFound) as refused:
            await resolver.resolve(ACME, name, allowed=allowed)
        messages.append(refused.value.message.replace(f"'{name}'", "it"))
    assert len(set(messages)) == 1
    assert store.calls == 4  # names that exist were looked up as those that do not
    assert (await resolver.resolve(ACME, "sql", allowed=frozenset({"base@sql"}))).adapter_name == "sql"


async def test_a_resolved_adapter_has_its_name_and_generation() -> None:
    store = Store()
    store.add("acme", "sql")
    store.add("acme", "sql")
    resolver = Resolver(Bases("base"), store, namespace_secret=b"a namespace secret", cache_ttl=60.0)
    for name, generation in (("base@sql", 2), ("base@sql:1", 1), ("base@acme/sql:2", 2)):
        resolved = await resolver.resolve(ACME, name)
        assert (resolved.owner, resolved.adapter_name, resolved.generation) == ("acme", "sql", generation)
    base = await resolver.resolve(ACME, "base")
    assert (base.owner, base.adapter_name, base.generation) == ("", "", 0)
