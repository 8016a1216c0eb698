"""Bodies of the admin API that are about prices."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from chorus_gateway.api.schemas_limits import Body, Listing, Printable
from chorus_gateway.models.names import parse_adapter
from chorus_gateway.prices import PriceRecord
from chorus_gateway.prices.money import money_text, parse_money
from chorus_gateway.values import Price

DIGITS, MAX_PRICE = 6, 10**12


def _price(text: str) -> str:
    if parse_money(text, digits=DIGITS) > MAX_PRICE:
        raise ValueError(f"it must be at most {money_text(MAX_PRICE, digits=DIGITS)}")
    return text


def _adapter(text: str) -> str:
    """ "owner/name"."""
    adapter = parse_adapter(text)
    if adapter is None or not adapter.owner or adapter.version:
        raise ValueError("it must be 'owner/name', without a version")
    return text


Amount = Annotated[str, AfterValidator(_price)]
PricedModel = Annotated[Printable, Field(min_length=1, max_length=256, description="a base model's name")]
PricedAdapter = Annotated[str, AfterValidator(_adapter)]


class PriceBody(Body):
    """Money for a million tokens, as decimal strings."""

    model: PricedModel
    adapter: PricedAdapter | None = Field(
        default=None, description="`owner/name`; null is the base, and every adapter on it that has no price of its own"
    )
    input: Amount = Field(examples=["0.15"])
    cached: Amount | None = Field(default=None, description="of prompt tokens in the prefix cache; null is as `input`")
    output: Amount = Field(examples=["0.60"])

    @field_validator("cached")
    @classmethod
    def _is_not_dearer(cls, cached: str | None, info: ValidationInfo) -> str | None:
        fresh = info.data.get("input")  # not there when it is wrong itself
        if cached and fresh and parse_money(cached, digits=DIGITS) > parse_money(fresh, digits=DIGITS):
            raise ValueError(f"it must be at most the price of input, {fresh}")
        return cached

    def to_price(self) -> Price:
        read = {name: parse_money(getattr(self, name) or self.input, digits=DIGITS) for name in Price.__slots__}
        return Price(**read)


class PriceView(BaseModel):
    model: str
    adapter: str | None
    input: str = Field(description="money for a million tokens")
    cached: str
    output: str
    updated_at: int = Field(description="seconds since 1970")

    @classmethod
    def of(cls, record: PriceRecord) -> "PriceView":
        shown = {name: money_text(getattr(record.price, name), digits=DIGITS) for name in Price.__slots__}
        return cls(model=record.model, adapter=record.adapter or None, updated_at=int(record.updated_at), **shown)


class PriceList(Listing):
    data: list[PriceView]
