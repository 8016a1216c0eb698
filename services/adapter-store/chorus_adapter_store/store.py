"""What the adapter store does, told without gRPC."""

import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from chorus_adapter_store.blobs import Blobs, Damage, Upload
from chorus_adapter_store.catalog import (
    AliasCatalog,
    BaseCatalog,
    Catalog,
    HistoryCatalog,
    LifecycleCatalog,
    SharingCatalog,
)
from chorus_adapter_store.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    Precondition,
    QuotaExceeded,
    StoreError,
    TooLarge,
    Unavailable,
)
from chorus_adapter_store.events import Event, EventKind, Events
from chorus_adapter_store.imports import Imports
from chorus_adapter_store.janitor import Janitor
from chorus_adapter_store.names import checked_alias, checked_name, is_name, quote
from chorus_adapter_store.telemetry.metrics import Metrics
from chorus_adapter_store.uninterrupted import uninterrupted
from chorus_adapter_store.uploading import Part, receive
from chorus_adapter_store.validate import Limits, Validator
from chorus_adapter_store.values import (
    CONFIG_FILE,
    LATEST,
    UNLIMITED,
    WEIGHTS_FILE,
    AdapterName,
    AliasChange,
    BaseSpec,
    Draft,
    Generation,
    Position,
    Quota,
    Resolution,
    Sharing,
    State,
    StoredFile,
    Target,
    Transition,
    Visibility,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_MODEL = 255  # characters
_MOST_SHARES = 1000
_LONGEST_REASON = 500  # characters
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterStore:
    catalog: Catalog
    lifecycle: LifecycleCatalog
    history: HistoryCatalog
    aliases: AliasCatalog
    sharing: SharingCatalog
    bases: BaseCatalog
    blobs: Blobs
    damage: Damage
    validator: Validator
    imports: Imports
    events: Events
    janitor: Janitor
    metrics: Metrics
    limits: Limits
    clock: Callable[[], float] = time.time

    async def publish(
        self, tenant: str, name: str, model: str, parts: AsyncIterator[Part], quota: Quota = UNLIMITED
    ) -> tuple[Generation, bool]:
        """Store an upload as the latest generation of its name; False when it was that already.

        Raises InvalidArgument, TooLarge, QuotaExceeded, Precondition or Unavailable; after any of them, and after a
        cancellation, nothing is left of the upload.
        """
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        try:
            return await self._publish(adapter, model, parts, quota)
        except (InvalidArgument, TooLarge, QuotaExceeded, Precondition) as error:
            with suppress(Unavailable):
                await self.history.refused(adapter, str(error), self.clock())
            raise

    async def import_(
        self, tenant: str, name: str, model: str, source: str, quota: Quota = UNLIMITED
    ) -> tuple[Generation, bool]:
        """As `publish`, of two files in a bucket, s3://bucket/prefix. Raises NotFound, too."""
        sizes = self.limits.sizes(await self.bases.find(model))
        async with aclosing(self.imports.parts(source, sizes)) as parts:
            return await self.publish(tenant, name, model, parts, quota)

    async def _publish(
        self, adapter: AdapterName, model: str, parts: AsyncIterator[Part], quota: Quota
    ) -> tuple[Generation, bool]:
        base = await self._base(model)
        async with self.blobs.upload() as config, self.blobs.upload() as weights:
            uploads: dict[str, Upload] = {CONFIG_FILE: config, WEIGHTS_FILE: weights}
            await receive(parts, uploads, self.limits.sizes(base))
            draft = await self._validated(adapter, base, config, weights)
            return await uninterrupted(self._commit(replace(draft, quota=quota), config, weights))

    async def resolve(self, tenant: str, owner: str, name: str, model: str, version: str) -> Resolution:
        """Raises NotFound, in words that tell nothing to anyone but the owner."""
        owner = owner or tenant
        if not all(is_name(each) for each in (tenant, owner, name)):
            raise NotFound(f"adapter {quote(name if owner == tenant else f'{owner}/{name}')} does not exist")
        return await self.catalog.resolve(tenant, owner, name, model, version)

    async def get(self, tenant: str, name: str, number: int) -> Generation:
        """One generation, whatever its state."""
        return await self.catalog.get(AdapterName(checked_name("tenant", tenant), checked_name("name", name)), number)

    async def files(self, digest: str, wanted: str = "") -> tuple[StoredFile, ...]:
        """Of a digest: the file that is `wanted`, or both."""
        if not _DIGEST.fullmatch(digest):
            raise InvalidArgument("digest", f"{quote(digest)} is not 64 lower-case hex characters")
        if wanted not in ("", CONFIG_FILE, WEIGHTS_FILE):
            raise InvalidArgument("file", f"{quote(wanted)} is no file of an adapter: {CONFIG_FILE} or {WEIGHTS_FILE}")
        return tuple(file for file in await self.catalog.files(digest) if wanted in ("", file.name))

    async def read(self, file: StoredFile) -> AsyncGenerator[bytes]:
        """Raises DataLoss, at the end when the bytes are not what was uploaded."""
        try:
            async with aclosing(self.blobs.read(file.sha256, file.size)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except DataLoss as loss:
            self.damage.found(file.sha256, file.size, loss)
            raise

    async def page(
        self, tenant: str, limit: int, after: Position | None, *, usable: bool = False, deleted: bool = False
    ) -> tuple[Generation, ...]:
        """A tenant's own, or all that it may use; an empty tenant lists every tenant's."""
        if tenant or usable:
            checked_name("tenant", tenant)
        return await self.catalog.page(tenant, limit, after, usable=usable, deleted=deleted and not usable)

    async def set_alias(self, tenant: str, name: str, alias: str, target: Target) -> Generation:
        """The generation that the alias now points at."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        _check_target(target)
        moved = await self.aliases.set(adapter, checked_alias("alias", alias), target, self.clock())
        return await self._moved("alias moved", moved, alias)

    async def remove_alias(self, tenant: str, name: str, alias: str) -> Generation:
        """The generation that the alias pointed at."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        if checked_alias("alias", alias) == LATEST:
            raise InvalidArgument("alias", "'latest' cannot be removed; point it at another generation")
        removed = await self.aliases.remove(adapter, alias, self.clock())
        return await self._moved("alias removed", removed, alias)

    async def rollback_alias(self, tenant: str, name: str, alias: str) -> Generation:
        """The generation that the alias now points at, as it did before."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        moved = await self.aliases.rollback(adapter, checked_alias("alias", alias), self.clock())
        return await self._moved("alias rolled back", moved, alias)

    async def alias_changes(self, tenant: str, name: str, alias: str) -> tuple[AliasChange, ...]:
        """Newest first; the first is what the alias points at now."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        return await self.aliases.changes(adapter, checked_alias("alias", alias))

    async def set_visibility(self, tenant: str, name: str, sharing: Sharing) -> Generation:
        """The newest generation, of which `sharing` now says who may use it."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        generation = await self.sharing.set(adapter, _checked_sharing(adapter, sharing))
        _log_change("visibility changed", generation, visibility=generation.sharing.visibility)
        await self.events.send(Event(EventKind.VISIBILITY, generation))
        return generation

    async def retire(self, tenant: str, name: str, number: int, reason: str) -> Generation:
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        retired = await self.lifecycle.retire(adapter, number, _checked_reason(reason), self.clock())
        _log_change("adapter retired", retired)
        await self._announce(Event(EventKind.RETIRED, retired))
        return retired

    async def restore(self, tenant: str, name: str, number: int, quota: Quota = UNLIMITED) -> int:
        """Bring back a generation, or all deleted ones with 0; returns how many."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        restored = await self.lifecycle.restore(adapter, number, self.clock(), quota)
        for generation in restored:
            _log_change("adapter restored", generation)
        await self._announce(*(Event(EventKind.RESTORED, generation) for generation in restored))
        return len(restored)

    async def transitions(self, tenant: str, name: str) -> tuple[Transition, ...]:
        """What became of the name's uploads and generations, newest first."""
        return await self.history.of(AdapterName(checked_name("tenant", tenant), checked_name("name", name)))

    async def delete(self, tenant: str, name: str, number: int, reason: str) -> int:
        """Delete a generation, or all with 0; returns how many."""
        adapter = AdapterName(checked_name("tenant", tenant), checked_name("name", name))
        deleted = await self.catalog.delete(adapter, number, self.clock(), _checked_reason(reason))
        for generation in deleted:
            _log_change("adapter deleted", generation)
        await self._announce(*(Event(EventKind.DELETED, generation) for generation in deleted))
        return len(deleted)

    async def count(self) -> None:
        """Bring the adapter_count metric up to date. Raises Unavailable."""
        self.metrics.adapters.set(await self.catalog.count())

    async def _base(self, model: str) -> BaseSpec:
        if not model or len(model) > _LONGEST_MODEL or not model.isprintable():
            raise InvalidArgument("model", f"{quote(model)} is not a base model's name")
        base = await self.bases.find(model)
        if base is None:
            known = ", ".join(await self.bases.names()) or "none yet: start an engine first"
            raise Precondition(f"model: no engine has served base {quote(model)} so far; known bases: {known}")
        return base

    async def _validated(self, adapter: AdapterName, base: BaseSpec, config: Upload, weights: Upload) -> Draft:
        config_sha256, weights_sha256 = await config.seal(), await weights.seal()
        uploaded_at = self.clock()
        with self.metrics.validation_seconds.time():
            facts = await self.validator.validate(config.path, weights.path, base)
        return Draft(
            adapter=adapter,
            base=base,
            facts=facts,
            config=StoredFile(CONFIG_FILE, config_sha256, config.size),
            weights=StoredFile(WEIGHTS_FILE, weights_sha256, weights.size),
            stages=((State.UPLOADED, uploaded_at), (State.VALIDATED, self.clock())),
        )

    async def _commit(self, draft: Draft, config: Upload, weights: Upload) -> tuple[Generation, bool]:
        async def keep() -> None:
            await config.keep()
            await weights.keep()

        try:
            # Not in the transaction, which others wait for; there it is only seen to that they are there still.
            await config.send()
            await weights.send()
            generation, created = await self.catalog.publish(draft, self.clock(), keep)
        except StoreError:
            await self.janitor.drop(frozenset({draft.config.sha256, draft.weights.sha256}))
            raise
        if created:
            _log_change("adapter published", generation)
            await self._announce(Event(EventKind.PUBLISHED, generation))
        return generation, created

    async def _moved(self, what: str, generation: Generation, alias: str) -> Generation:
        _log_change(what, generation, alias=alias)
        await self.events.send(Event(EventKind.ALIAS, generation, alias))
        return generation

    async def _announce(self, *events: Event) -> None:
        await self.events.send(*events)
        with suppress(Unavailable):
            await self.count()


def _checked_reason(reason: str) -> str:
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise InvalidArgument("reason", f"{quote(reason)} is over {_LONGEST_REASON} characters or not printable")
    return reason


def _check_target(target: Target) -> None:
    if bool(target.canary) != bool(target.percent) or not 0 <= target.percent <= 99:
        raise InvalidArgument(
            "canary_percent", f"{target.percent} with canary {target.canary}; a canary has 1 to 99, none has 0"
        )
    if target.canary == target.generation:
        raise InvalidArgument("canary", f"{target.canary} is the alias's generation too; name another one")


def _checked_sharing(adapter: AdapterName, sharing: Sharing) -> Sharing:
    tenants = sorted({checked_name("shared_with", tenant) for tenant in sharing.tenants} - {adapter.tenant})
    if sharing.visibility is not Visibility.SHARED:
        if sharing.tenants:
            raise InvalidArgument("shared_with", f"only visibility 'shared' takes tenants, not '{sharing.visibility}'")
    elif not 1 <= len(tenants) <= _MOST_SHARES:
        raise InvalidArgument(
            "shared_with", f"{len(tenants)} tenants besides the owner are named; name 1 to {_MOST_SHARES}"
        )
    return Sharing(sharing.visibility, tuple(tenants))


def _log_change(what: str, generation: Generation, **more: str) -> None:
    adapter = generation.adapter
    names = {"tenant": adapter.tenant, "adapter": adapter.name, "generation": generation.generation}
    _log.info(what, extra={**names, "digest": generation.digest, **more})
