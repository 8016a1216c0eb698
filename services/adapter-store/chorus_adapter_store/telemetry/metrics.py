"""The store's metrics, in a registry of their own. No label carries what a tenant chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.uploads = Counter(
            "adapter_uploads",
            "Uploads by how they ended: created, unchanged, refused, failed or cancelled",
            ["result"],
            registry=self.registry,
        )
        self.upload_bytes = Counter("adapter_upload_bytes", "Bytes received by uploads", registry=self.registry)
        self.fetch_bytes = Counter("adapter_fetch_bytes", "Bytes sent to engines and downloads", registry=self.registry)
        self.cache_hits = Counter(
            "blob_cache_hits", "Files that came from memory, or with another's reading", registry=self.registry
        )
        self.cache_misses = Counter(
            "blob_cache_misses", "Files that were read from the disk or the bucket", registry=self.registry
        )
        self.cache_evictions = Counter("blob_cache_evictions", "Files that gave way in memory", registry=self.registry)
        self.cache_bytes = Gauge("blob_cache_bytes", "Bytes of files in memory", registry=self.registry)
        self.damaged = Gauge("blobs_damaged", "Files known to be missing or damaged", registry=self.registry)
        self.adapters = Gauge("adapter_count", "Adapters that have a generation", registry=self.registry)
        self.validation_seconds = Histogram(
            "adapter_validation_seconds",
            "Time to validate an upload, waiting for its turn included",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.calls = Histogram(
            "adapter_store_call_seconds",
            "Time of a call by method and gRPC status",
            ["method", "code"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.placer_leading = Gauge(
            "placer_leading", "1 while this store decides which engines hold which adapters", registry=self.registry
        )
        self.placer_term = Gauge(
            "placer_term", "Number of this store's last time as the placer; higher is later", registry=self.registry
        )
        self.placer_commands = Counter(
            "placer_commands",
            "Commands to engines: sent, and how they ended: done, refused, failed or lost (no answer)",
            ["command", "status"],
            registry=self.registry,
        )
