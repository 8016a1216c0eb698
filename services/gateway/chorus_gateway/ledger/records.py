"""The lines of a journal: what happened to a request, each with a checksum, so that a torn one is seen.

<crc32 of the rest, 8 hex digits>["admit", request id, …]
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from chorus_gateway.engine_client.usage import SubmissionId
from chorus_gateway.ledger.tally import Sent, Tally
from chorus_gateway.ledger.values import Admission, Closing, Outcome
from chorus_gateway.values import Band, Price, Usage

_RECORD = TypeAdapter(list[Any])


def admitted(a: Admission) -> bytes:
    price = [a.price.input, a.price.cached, a.price.output]
    return line(
        ["admit", a.request_id, a.at, a.tenant, a.key, a.base, a.adapter, a.generation, int(a.band), price, a.n]
    )


def sent(request_id: str, submission: SubmissionId, engine_id: str) -> bytes:
    return line(["sent", request_id, submission.request_id, submission.attempt, engine_id])


def ended(request_id: str, submission: SubmissionId, usage: Usage | None) -> bytes:
    return line(["ended", request_id, _end(submission, usage)])


def closed(request_id: str, closing: Closing, ends: Iterable[tuple[SubmissionId, Usage | None]]) -> bytes:
    """With the final usages that came before."""
    told = [_end(name, usage) for name, usage in ends]
    lost = () if closing.lost is None else (_figures(closing.lost),)
    return line(["closed", request_id, closing.outcome, _figures(closing.delivered), closing.cost, told, *lost])


def story(tally: Tally) -> bytes:
    """All that is known, from the admission on."""
    request_id = tally.admission.request_id
    told = [admitted(tally.admission)]
    told += [sent(request_id, name, each.engine_id) for name, each in tally.sent.items()]
    ends = [(name, each.usage) for name, each in tally.sent.items() if each.ended]
    if tally.closing is not None:
        told.append(closed(request_id, tally.closing, ends))
    return b"".join(told)


def lines(data: bytes) -> Iterator[bytes]:
    """Those that are whole: what a kill or a full disk tore is left out."""
    for each in data.split(b"\n"):
        if len(each) > 8 and each[:8] == _checksum(each[8:]):
            yield each[8:]


def apply(text: bytes, tallies: dict[str, Tally]) -> str:
    """What `text` tells goes into the tallies, unless its request's admission was lost. Answers the request's id."""
    kind, request_id, *rest = json.loads(text)
    if kind == "admit":
        at, tenant, key, base, adapter, generation, band, price, n = rest
        admission = Admission(request_id, at, tenant, key, base, adapter, generation, Band(band), Price(*price), n)
        tallies.setdefault(request_id, Tally(admission))
    elif (tally := tallies.get(request_id)) is not None:
        _CHANGES[kind](tally, *rest)
    return str(request_id)


def _apply_sent(tally: Tally, name: str, attempt: int, engine_id: str) -> None:
    tally.sent.setdefault(SubmissionId(name, attempt), Sent(engine_id)).engine_id = engine_id


def _apply_ended(tally: Tally, end: list[Any]) -> None:
    name, attempt, figures = end
    tally.end(SubmissionId(name, attempt), Usage(*figures) if figures else None)


def _apply_closed(
    tally: Tally, outcome: str, figures: list[int], cost: int, ends: list[list[Any]], lost: list[int] | None = None
) -> None:
    tally.closing = Closing(Outcome(outcome), Usage(*figures), cost, None if lost is None else Usage(*lost))
    for end in ends:
        _apply_ended(tally, end)


_CHANGES: Mapping[str, Callable[..., None]] = {"sent": _apply_sent, "ended": _apply_ended, "closed": _apply_closed}


def _figures(usage: Usage) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens]


def _end(submission: SubmissionId, usage: Usage | None) -> list[Any]:
    figures = None
    if usage is not None:
        figures = [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.computed_tokens]
    return [submission.request_id, submission.attempt, figures]


def line(record: list[Any]) -> bytes:
    """With its checksum and its end."""
    text = _RECORD.dump_json(record)
    return b"%b%b\n" % (_checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
