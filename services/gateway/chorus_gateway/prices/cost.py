"""Money is whole billionths, so that sums are exact and no counter drifts from the ledger."""

from chorus_gateway.values import Price, Usage

SCALE = 1000  # thousandths of a billionth: what a token costs at a price of 1


def cost(price: Price, usage: Usage) -> int:
    """Billionths of the currency, rounded up once."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    fresh = usage.prompt_tokens - cached
    return -(-(fresh * price.input + cached * price.cached + usage.completion_tokens * price.output) // SCALE)


def most(price: Price, prompt_tokens: int, completion_tokens: int) -> int:
    """What so many tokens cost at most, whatever share of the prompt is cached."""
    dearer = max(price.input, price.cached)
    return -(-(prompt_tokens * dearer + completion_tokens * price.output) // SCALE)
