"""The price table in the database."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from chorus_gateway.db import Database, PriceRow
from chorus_gateway.errors import NotFound
from chorus_gateway.values import Price

BASE = ""  # the adapter of a base's own row


@dataclass(frozen=True, slots=True)
class PriceRecord:
    model: str  # a base's name
    adapter: str  # "owner/name"; BASE is the base itself, and every adapter on it that has no row
    price: Price
    updated_at: float  # seconds since 1970


class Prices:
    """Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[PriceRecord, ...]:
        """By model, the base's own row first, then by adapter."""
        query = select(PriceRow).order_by(PriceRow.model, PriceRow.adapter)
        async with self._database.session() as session:
            return tuple(_record(row) for row in await session.scalars(query))

    async def of_model(self, model: str) -> Mapping[str, Price]:
        """By adapter."""
        query = select(PriceRow).where(PriceRow.model == model)
        async with self._database.session() as session:
            return {row.adapter: _record(row).price for row in await session.scalars(query)}

    async def put(self, model: str, adapter: str, price: Price) -> PriceRecord:
        row = PriceRow(
            model=model,
            adapter=adapter,
            input=price.input,
            cached=price.cached,
            output=price.output,
            updated_at=time.time(),
        )
        async with self._database.exclusive() as session:
            await session.merge(row)
        return _record(row)

    async def remove(self, model: str, adapter: str) -> PriceRecord:
        """What it was. NotFound where there is none."""
        async with self._database.session() as session:
            row = await session.get(PriceRow, (model, adapter))
            if row is None:
                of = f"the adapter '{adapter}' on '{model}'" if adapter else f"'{model}'"
                raise NotFound(f"There is no price of {of}; see GET /admin/v1/prices.", param="model")
            await session.delete(row)
        return _record(row)


def price_of(table: Mapping[str, Price], adapter: str) -> Price:
    """From a model's rows: the adapter's own, else its base's; without one nothing is charged."""
    return table.get(adapter) or table.get(BASE) or Price()


def _record(row: PriceRow) -> PriceRecord:
    return PriceRecord(row.model, row.adapter, Price(row.input, row.cached, row.output), row.updated_at)
