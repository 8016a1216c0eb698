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
