from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from chorus_gateway.telemetry.histogram import QuickHistogram

BUCKETS = (0.01, 0.5, 1.0)
VALUES = (0.0, 0.01, 0.02, 0.5, 0.7, 3.0)


def test_it_is_exposed_as_prometheus_clients_own() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    quick = QuickHistogram("seconds", "How long.", buckets=BUCKETS, registry=ours)
    usual = Histogram("seconds", "How long.", buckets=BUCKETS, registry=theirs)
    for value in VALUES:
        quick.observe(value)
        usual.observe(value)
    wanted = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == wanted
