"""What operators see: metrics, spans, logs."""

from chorus_engine.telemetry.http import MetricsServer
from chorus_engine.telemetry.logs import configure_logging
from chorus_engine.telemetry.metrics import EngineMetrics
from chorus_engine.telemetry.tracing import Tracing

__all__ = ["EngineMetrics", "MetricsServer", "Tracing", "configure_logging"]
