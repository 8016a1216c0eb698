"""The files of a batch, which are seen in the same moment as its end."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import update

from chorus_gateway.batches.leases import Lease, change
from chorus_gateway.batches.stores import Stores
from chorus_gateway.batches.values import Batch, Status
from chorus_gateway.db import batches
from chorus_gateway.files import Purpose, Upload

KEPT_SECONDS = 30 * 24 * 3600  # where the client does not say


class Publishing:
    def __init__(self, lease: Lease, stores: Stores) -> None:
        self._lease = lease
        self._stores = stores

    async def move(self, batch: Batch, values: Mapping[str, Any]) -> None:
        """To another status, unless it has one already or another owner: the caller looks again."""
        async with self._stores.database.session() as session:
            which = self._lease.held & (batches.c.status == batch.status.value)
            await session.execute(update(batches).where(which).values(dict(values)))

    async def publish(self, batch: Batch, end: Status) -> None:
        """Written anew by whoever takes over in the middle; what was written before is never seen."""
        seconds = batch.wanted.output_seconds or KEPT_SECONDS
        output = await self._write(batch, ok=True)
        errors = await self._write(batch, ok=False)
        moment = f"{end}_at"
        values: dict[str, Any] = {"status": end.value, moment: batch.moments.get(moment, time.time())}
        async with self._stores.database.session() as session:
            if output is not None:
                await output.publish(session, f"{batch.id}_output.jsonl", Purpose.BATCH_OUTPUT, seconds)
                values["output_file_id"] = output.id
            if errors is not None:
                await errors.publish(session, f"{batch.id}_error.jsonl", Purpose.BATCH_OUTPUT, seconds)
                values["error_file_id"] = errors.id
            await change(session, self._lease, values)

    async def tidy_up(self, batch: Batch) -> None:
        """Of one that is over: nobody needs its lease from now on."""
        await self._stores.results.remove(batch.id)
        async with self._stores.database.session() as session:
            await change(session, self._lease, {"lease_until": None})

    async def _write(self, batch: Batch, *, ok: bool) -> Upload | None:
        """None where there is nothing to write."""
        upload = self._stores.files.output(batch.tenant)
        async for data in self._stores.results.read(batch.id, ok=ok):
            await upload.write(data)
        if not upload.bytes:
            return None
        await upload.flush()
        return upload
