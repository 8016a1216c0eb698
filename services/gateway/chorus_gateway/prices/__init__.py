"""What tokens cost: the price table, and what a request makes of it."""

from chorus_gateway.prices.cost import cost, most
from chorus_gateway.prices.store import PriceRecord, Prices, price_of

__all__ = ["PriceRecord", "Prices", "cost", "most", "price_of"]
