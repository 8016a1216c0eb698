"""Limits and money, as the admin API writes them."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chorus_gateway.prices.money import money_text, parse_money
from chorus_gateway.values import Limits, Period

BUDGET_DIGITS, MAX_BUDGET = 9, 2**53
Count = Annotated[int, Field(ge=1, le=2_000_000_000)]


class Body(BaseModel):
    """What a client sends: what we do not know, and values of another type, are mistakes to be told of."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Listing(BaseModel):
    object: Literal["list"] = "list"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it must have no control characters")
    return text


Printable = Annotated[str, AfterValidator(_printable)]


def _budget(text: str) -> str:
    if not 0 < parse_money(text, digits=BUDGET_DIGITS) <= MAX_BUDGET:
        raise ValueError(f"it must be above 0 and at most {money_text(MAX_BUDGET, digits=BUDGET_DIGITS)}")
    return text


class UseLimitsBody(Body):
    """`null` is no limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = Field(default=None, description="prompt and output tokens together")
    tokens_per_day: int | None = Field(default=None, ge=1, le=2**53, description="likewise; days are UTC's")
    concurrent_requests: Count | None = None
    budget: Annotated[str, AfterValidator(_budget)] | None = Field(
        default=None, description="money, in the currency of the prices, as a decimal string", examples=["12.50"]
    )
    budget_period: Literal["day", "month", "total"] = Field(
        default="month", description="what the budget is for, in calendar time of UTC; `total` is for ever"
    )

    def to_limits(self) -> Limits:
        return Limits(**self.columns(self.model_dump()))

    def changes(self) -> dict[str, Any]:
        """Columns by name, those alone that were given."""
        return self.columns(self.model_dump(exclude_unset=True))

    @staticmethod
    def columns(given: dict[str, Any]) -> dict[str, Any]:
        if given.get("budget") is not None:
            given["budget"] = parse_money(given["budget"], digits=BUDGET_DIGITS)
        if "budget_period" in given:
            given["budget_period"] = Period(given["budget_period"])
        return given

    @classmethod
    def shown(cls, limits: Limits) -> dict[str, Any]:
        """As JSON."""
        values = {name: value for name, value in asdict(limits).items() if name in cls.model_fields}
        budget = None if limits.budget is None else money_text(limits.budget, digits=BUDGET_DIGITS)
        return {**values, "budget": budget, "budget_period": limits.budget_period.value}


class TenantLimitsBody(UseLimitsBody):
    adapters: Count | None = None
    adapter_bytes: int | None = Field(
        default=None, ge=1, le=2**53, description="of all adapters, deleted ones too until their grace period ends"
    )
    adapter_rank: Count | None = Field(default=None, description="the largest of an adapter")
