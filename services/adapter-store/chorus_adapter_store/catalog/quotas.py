"""What a tenant may have, as steps of the catalog's transactions."""

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chorus_adapter_store.catalog.rows import PRESENT
from chorus_adapter_store.catalog.schema import adapters, generations
from chorus_adapter_store.errors import QuotaExceeded
from chorus_adapter_store.values import Draft, Quota

_TENANTS = 0x71756F74  # "quot": the space of PostgreSQL's advisory locks


async def lock_tenant(connection: AsyncConnection, tenant: str, quota: Quota) -> None:
    """Before anything is counted: whoever adds to the same tenant waits. SQLite's writers do so by themselves."""
    if connection.dialect.name == "postgresql" and (quota.adapters or quota.bytes):
        names = {"space": _TENANTS, "tenant": tenant}
        await connection.execute(text("SELECT pg_advisory_xact_lock(:space, hashtext(:tenant))"), names)


async def check_draft(connection: AsyncConnection, draft: Draft) -> None:
    """Before the draft is in the catalog. Raises QuotaExceeded."""
    tenant, quota, rank = draft.adapter.tenant, draft.quota, draft.facts.rank
    if quota.rank and rank > quota.rank:
        raise QuotaExceeded(
            f"rank: the adapter has rank {rank}, more than the {quota.rank} that tenant '{tenant}' may use; "
            "train it with a smaller r"
        )
    if quota.bytes:
        used = await _bytes(connection, draft)
        size = draft.config.size + draft.weights.size
        if used + size > quota.bytes:
            raise QuotaExceeded(
                f"bytes: the adapter's {size} bytes and the {used} that tenant '{tenant}' has are more than the "
                f"{quota.bytes} allowed; delete others (they count until their grace period ends)"
            )


async def check_count(connection: AsyncConnection, tenant: str, quota: Quota) -> None:
    """After an adapter was added. Raises QuotaExceeded."""
    if not quota.adapters:
        return
    query = select(func.count(generations.c.adapter_id.distinct())).join(adapters)
    found = await connection.execute(query.where(adapters.c.tenant == tenant, PRESENT))
    count = found.scalar_one()
    if count > quota.adapters:
        raise QuotaExceeded(
            f"adapters: tenant '{tenant}' would have {count} adapters, more than the {quota.adapters} allowed; "
            "delete another one first"
        )


async def _bytes(connection: AsyncConnection, draft: Draft) -> int:
    """Of the tenant's other digests."""
    mine = select(generations.c.digest, generations.c.config_size, generations.c.weights_size).join(adapters)
    mine = mine.where(adapters.c.tenant == draft.adapter.tenant, generations.c.digest != draft.digest)
    each = mine.distinct().subquery()
    total = select(func.coalesce(func.sum(each.c.config_size + each.c.weights_size), 0))
    return int((await connection.execute(total)).scalar_one())
