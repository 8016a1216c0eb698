"""What came of drafts, under the names that operators know."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from chorus_engine.core.request import MAX_SPECULATION

MOST_ADAPTERS = 64  # with a label of their own; the first ones, so that no tenant can make more
OTHER, BASE = "other", "base"
DIGITS = 12  # of a digest


class SpeculationMetrics:
    """Called on the loop's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._drafts = Counter("spec_decode_num_drafts", "Rows that had drafts in a step.", registry=registry)
        self._drafted = Counter("spec_decode_num_draft_tokens", "Tokens drafted.", registry=registry)
        self._accepted = Counter("spec_decode_num_accepted_tokens", "Drafted tokens accepted.", registry=registry)
        drafted_at = Counter(
            "spec_decode_num_draft_tokens_per_pos",
            "Tokens drafted, by their place in the draft.",
            ["position"],
            registry=registry,
        )
        accepted_at = Counter(
            "spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens accepted, by their place in the draft.",
            ["position"],
            registry=registry,
        )
        self._drafted_at = [drafted_at.labels(position) for position in range(MAX_SPECULATION)]
        self._accepted_at = [accepted_at.labels(position) for position in range(MAX_SPECULATION)]
        self._drafted_by = Counter(
            "spec_decode_adapter_draft_tokens", "Tokens drafted, by adapter.", ["adapter"], registry=registry
        )
        self._accepted_by = Counter(
            "spec_decode_adapter_accepted_tokens",
            "Drafted tokens accepted, by adapter.",
            ["adapter"],
            registry=registry,
        )
        self._tokens = Histogram(
            "spec_decode_step_tokens",
            "Tokens that a row with drafts got of one step.",
            buckets=(1, 2, 3, 4, 5, 6, 8, 12, 17),
            registry=registry,
        )
        self._labels: dict[str | None, str] = {None: BASE}

    def verified(self, adapter: str | None, drafted: int, taken: int) -> None:
        self._drafts.inc()
        self._drafted.inc(drafted)
        self._accepted.inc(taken)
        self._tokens.observe(1 + taken)
        for at in self._drafted_at[:drafted]:
            at.inc()
        for at in self._accepted_at[:taken]:
            at.inc()
        label = self._label(adapter)
        self._drafted_by.labels(label).inc(drafted)
        self._accepted_by.labels(label).inc(taken)

    def _label(self, adapter: str | None) -> str:
        if adapter in self._labels:
            return self._labels[adapter]
        if adapter is None or len(self._labels) > MOST_ADAPTERS:
            return OTHER
        return self._labels.setdefault(adapter, adapter[:DIGITS])
