"""One request's account as it stands, live or read back from a journal: pure, with no file and no clock."""

from dataclasses import dataclass, field
from itertools import groupby

from chorus_gateway.engine_client.usage import SubmissionId
from chorus_gateway.ledger.values import Admission, Closing, Outcome, UsageRow
from chorus_gateway.prices.cost import cost
from chorus_gateway.values import Usage


@dataclass(slots=True)
class Sent:
    """One submission. It has ended when its final usage is known, or is known to be never known."""

    engine_id: str
    ended: bool = False
    usage: Usage | None = None


@dataclass(slots=True)
class Tally:
    admission: Admission
    sent: dict[SubmissionId, Sent] = field(default_factory=dict)
    closing: Closing | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is awaited from any engine."""
        return all(sent.ended for sent in self.sent.values())

    def end(self, submission: SubmissionId, usage: Usage | None) -> None:
        """The first word counts."""
        sent = self.sent.setdefault(submission, Sent(engine_id=""))
        if not sent.ended:
            sent.ended, sent.usage = True, usage

    def row(self) -> UsageRow | None:
        """As things stand; without a closing it is an orphan's. None for what was refused before anything was done."""
        closing = self.closing or self._orphan()
        if closing.outcome is Outcome.REFUSED and not self.sent:
            return None
        return UsageRow(self.admission, closing, self._computed(closing.lost or closing.delivered))

    def _computed(self, made: Usage) -> int:
        known = sum(sent.usage.computed_tokens for sent in self.sent.values() if sent.usage)
        if all(sent.usage for sent in self.sent.values()):
            return known
        # At least what came of it was computed, and of the last token nothing but its sampling.
        least = made.prompt_tokens - made.cached_tokens + max(0, made.completion_tokens - 1)
        return max(known, least if made.completion_tokens else 0)

    def _orphan(self) -> Closing:
        """As the gateway would have billed it: each prompt once and only with an answer, each answer's last attempt."""
        last = {name.request_id: sent.usage for name, sent in sorted(self.sent.items()) if sent.usage}
        answers = sorted(((_choice(name), usage) for name, usage in last.items()), key=lambda answer: answer[0])
        prompt = cached = completion = 0
        for _, group in groupby(answers, key=lambda answer: answer[0] // self.admission.n):
            usages = [usage for _, usage in group]
            made = sum(usage.completion_tokens for usage in usages)
            if made:
                prompt += usages[0].prompt_tokens
                cached += usages[0].cached_tokens
                completion += made
        delivered = Usage(prompt, completion, cached)
        return Closing(Outcome.ORPHANED, delivered, cost(self.admission.price, delivered))


def _choice(request_id: str) -> int:
    """A job is named after its request and its choice."""
    return int(request_id.rpartition("-")[2])
