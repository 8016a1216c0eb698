"""What operators see: metrics, logs and traces. Created in main and handed in, never global."""

from chorus_gateway.telemetry.metrics import Metrics
from chorus_gateway.telemetry.tracing import Tracing, current_traceparent

__all__ = ["Metrics", "Tracing", "current_traceparent"]
