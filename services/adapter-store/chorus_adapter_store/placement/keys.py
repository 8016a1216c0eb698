"""Names of what the placer reads and writes in Redis. Each command there touches one key, as a cluster needs it."""

ENGINES = "chorus:engines"  # zset: engine id -> time of the last heartbeat
DRAINS = "chorus:drains"  # hash: engine id -> "1" for those that an administrator ordered to drain
LOCK = "chorus:placer"
BUCKET_SECONDS = 5  # of demand


def engine(engine_id: str) -> str:
    return f"chorus:engine:{{{engine_id}}}"


def residency(engine_id: str) -> str:
    return f"{engine(engine_id)}:residency"


def commands(engine_id: str) -> str:
    return f"{engine(engine_id)}:commands"


def results(engine_id: str) -> str:
    return f"{engine(engine_id)}:results"


def demand(base_digest: str, bucket: int) -> str:
    """`bucket`: seconds since 1970 over BUCKET_SECONDS, rounded down."""
    return f"chorus:demand:{{{base_digest}}}:{bucket}"


def pins(base_digest: str) -> str:
    return f"chorus:pins:{{{base_digest}}}"
