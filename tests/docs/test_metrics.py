from collections.abc import Mapping

import pytest
from prometheus_client.metrics import MetricWrapperBase

from chorus_adapter_store.telemetry.metrics import Metrics as StoreMetrics
from chorus_engine.telemetry.metrics import EngineMetrics
from chorus_gateway.telemetry import Metrics as GatewayMetrics
from tests.docs.pages import DOCS, section

SERVICES: Mapping[str, type[GatewayMetrics | EngineMetrics | StoreMetrics]] = {
    "### Gateway metrics": GatewayMetrics,
    "### Engine metrics": EngineMetrics,
    "### Adapter store metrics": StoreMetrics,
}


def described(heading: str) -> dict[str, list[str]]:
    """The cells of each row by the metric's name: type, labels, meaning."""
    rows = [row for row in section(DOCS / "operations.md", heading).splitlines() if row.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize("heading", SERVICES)
def test_every_metric_is_described_with_its_type_and_no_other(heading: str) -> None:
    exposed = {
        # As `/metrics` says it: a counter's name ends with _total.
        f"{metric.name}_total" if metric.type == "counter" else metric.name: metric.type
        for metric in SERVICES[heading]().registry.collect()
    }
    assert {name: cells[0] for name, cells in described(heading).items()} == exposed


@pytest.mark.parametrize("heading", SERVICES)
def test_every_label_is_described(heading: str) -> None:
    page = described(heading)
    collectors = [value for value in vars(SERVICES[heading]()).values() if isinstance(value, MetricWrapperBase)]
    assert collectors
    for collector in collectors:
        name = next(iter(collector.describe())).name
        labels = (page.get(name) or page[f"{name}_total"])[1]
        assert all(f"`{label}`" in labels for label in collector._labelnames), name
        assert bool(labels) == bool(collector._labelnames), name
