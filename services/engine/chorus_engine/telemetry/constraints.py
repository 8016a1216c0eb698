"""What constraints cost; a `constraints.watcher.Watcher`."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_COMPILING = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MASKING = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)


class ConstraintMetrics:
    """Thread-safe, as the library's metrics are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._compile = Histogram(
            "constraint_compile_seconds", "Compiling a constraint.", ["result"], buckets=_COMPILING, registry=registry
        )
        self._hits = Counter("constraint_cache_hits", "Requests whose constraint was compiled.", registry=registry)
        self._evictions = Counter("constraint_cache_evictions", "Compiled constraints dropped.", registry=registry)
        self._mask = Histogram(
            "constraint_mask_seconds", "Computing the masks of a step.", buckets=_MASKING, registry=registry
        )

    def compiled(self, seconds: float, *, ok: bool) -> None:
        self._compile.labels("ok" if ok else "refused").observe(seconds)

    def found(self) -> None:
        self._hits.inc()

    def evicted(self) -> None:
        self._evictions.inc()

    def masked(self, seconds: float) -> None:
        self._mask.observe(seconds)
