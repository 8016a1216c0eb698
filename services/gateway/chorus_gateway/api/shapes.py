"""OpenAI's names for what the pipeline knows."""

import math
from json.encoder import encode_basestring_ascii

from chorus_gateway.answer import Opening, TokenView
from chorus_gateway.values import Band

# JSON has no infinity; this is what OpenAI reports for a token that cannot come.
_LEAST_LOGPROB = -9999.0
_TIERS = {Band.PRIORITY: "priority", Band.DEFAULT: "default", Band.FLEX: "flex"}


# A text as JSON in ASCII, quotes included: what json.dumps comes to, without its way there.
quoted = encode_basestring_ascii


def tier_name(band: Band) -> str:
    return _TIERS[band]


def fingerprint(opening: Opening) -> str:
    """The same for as long as the weights that answer are the same."""
    base, adapter = opening.model.base.digest, opening.model.adapter
    return f"fp_{base[:10]}" + (f"_{adapter[:10]}" if adapter else "")


def finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _LEAST_LOGPROB


def legacy_token(view: TokenView) -> str:
    """A token as the legacy route names it: its text, or its bytes where they are no whole characters."""
    try:
        return view.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in view.data)
