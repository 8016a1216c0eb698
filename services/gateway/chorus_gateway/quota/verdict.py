"""How a client is told what a check of the limits found."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from chorus_gateway.errors import GatewayError, InvalidRequest, QuotaExceeded, RateLimited
from chorus_gateway.prices.money import money_text
from chorus_gateway.quota.base import Reservation, Subject, SubjectKind, Wanted
from chorus_gateway.quota.buckets import EPSILON, WINDOW, charge
from chorus_gateway.quota.headers import duration, left_of, rate_headers
from chorus_gateway.quota.level import Level
from chorus_gateway.quota.periods import end_of
from chorus_gateway.values import Period

IN_FLIGHT_RETRY_SECONDS = 1.0  # nobody knows when a running request ends
A_PERIOD = {Period.DAY: "a day", Period.MONTH: "a month", Period.TOTAL: "in all"}

Levels = Sequence[tuple[Subject, Level]]


def refuse_impossible(wanted: Wanted) -> None:
    """InvalidRequest when a limit could not grant the request even if nothing of it were used."""
    for subject in wanted.subjects:
        limits, who = subject.limits, _who(subject)
        for limit, period in ((limits.tokens_per_minute, "minute"), (limits.tokens_per_day, "day")):
            if limit is not None and wanted.tokens > limit:
                raise _too_large(
                    f"may use {wanted.tokens} tokens (prompt and max_tokens together), more than the limit of "
                    f"{limit} tokens per {period} of {who}"
                )
        if limits.budget is not None and wanted.cost > limits.budget:
            raise _too_large(
                f"may cost {_amount(wanted.cost)} (prompt and max_tokens together), more than the whole budget of "
                f"{_amount(limits.budget)} {A_PERIOD[limits.budget_period]} of {who}"
            )
        for limit, what in ((limits.requests_per_minute, "per minute"), (limits.concurrent_requests, "in flight")):
            if limit == 0:
                raise InvalidRequest(
                    f"The limit of 0 requests {what} of {who} lets no request through: have it raised.",
                    code="request_too_large",
                )


def answer(wanted: Wanted, reservation_id: str, now: float, granted: bool, levels: Sequence[Level]) -> Reservation:
    """The reservation that was granted, or the error that says what was missing and until when. `levels` are those of
    the bounded subjects, in order; `now` is in seconds since 1970."""
    bounded = [subject for subject in wanted.subjects if subject.bounded]
    pairs = list(zip(bounded, levels, strict=True))
    headers = rate_headers(pairs)
    if granted:
        return Reservation(reservation_id, wanted, now, headers)
    raise _spent(wanted, now, pairs, headers) or _limited(wanted, pairs, headers)


def _too_large(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"This request {what}, so waiting would not help: lower max_tokens or shorten the prompt.",
        param="max_tokens",
        code="request_too_large",
    )


def _who(subject: Subject) -> str:
    if subject.kind is SubjectKind.KEY:
        return "this key"
    return f"{subject.kind.value} '{subject.id}'"


def _spent(wanted: Wanted, now: float, levels: Levels, headers: dict[str, str]) -> GatewayError | None:
    """Not to be had before the next day or month, even if everything in flight gave all back."""
    for subject, level in levels:
        limits, who = subject.limits, _who(subject)
        day, budget, period = limits.tokens_per_day, limits.budget, limits.budget_period
        if budget is not None and level.budget_spent + wanted.cost > budget:
            what = (
                f"The budget of {_amount(budget)} {A_PERIOD[period]} of {who} is spent: {_amount(level.budget_spent)} "
                f"used, and this request may cost {_amount(wanted.cost)}"
            )
            return _exceeded(what, budget > level.budget_spent, period, now, headers)
        if day is not None and level.day_spent + wanted.tokens > day:
            what = (
                f"The limit of {day} tokens per day of {who} is spent: {level.day_spent} used, and this request may "
                f"use {wanted.tokens}"
            )
            return _exceeded(what, day > level.day_spent, Period.DAY, now, headers)
    return None


def _exceeded(what: str, some_left: bool, period: Period, now: float, headers: dict[str, str]) -> QuotaExceeded:
    end = end_of(period, now)
    smaller = "; lower max_tokens to use what is left" if some_left else ""
    until = "have it raised" if end is None else f"it is new at {datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return QuotaExceeded(f"{what}{smaller}; {until}.", code="insufficient_quota", headers=headers)


def _limited(wanted: Wanted, levels: Levels, headers: dict[str, str]) -> RateLimited:
    wait, what, subject = max(_waits(wanted, levels), key=lambda each: each[0])
    return RateLimited(
        f"Rate limit reached for {_who(subject)} on {what}; try again in {duration(wait)}.",
        retry_after=wait,
        headers=headers,
    )


def _waits(wanted: Wanted, levels: Levels) -> Iterator[tuple[float, str, Subject]]:
    """Every limit that is in the way: for how many seconds, and its figures."""
    for subject, level in levels:
        limits = subject.limits
        for kind, limit, backlog, asked in (
            ("requests", limits.requests_per_minute, level.requests, 1),
            ("tokens", limits.tokens_per_minute, level.tokens, wanted.tokens),
        ):
            if limit is not None and (over := backlog + charge(limit, asked) - WINDOW) > EPSILON:
                what = f"{kind} per minute: limit {limit}, left {left_of(limit, backlog)}, requested {asked}"
                yield max(over / 1e6, 0.001), what, subject
        places = limits.concurrent_requests
        if places is not None and level.in_flight >= places:
            what = f"requests in flight: limit {places}, running {level.in_flight}"
            yield IN_FLIGHT_RETRY_SECONDS, what, subject
        day, budget = limits.tokens_per_day, limits.budget
        if day is not None and level.day_spent + level.day_held + wanted.tokens > day:
            what = (
                f"tokens per day: limit {day}, used {level.day_spent}, reserved by requests in flight "
                f"{level.day_held}, requested {wanted.tokens}"
            )
            yield IN_FLIGHT_RETRY_SECONDS, what, subject
        if budget is not None and level.budget_spent + level.budget_held + wanted.cost > budget:
            what = (
                f"its budget: limit {_amount(budget)}, used {_amount(level.budget_spent)}, reserved by requests in "
                f"flight {_amount(level.budget_held)}, requested {_amount(wanted.cost)}"
            )
            yield IN_FLIGHT_RETRY_SECONDS, what, subject


def _amount(nano: int) -> str:
    return money_text(nano, digits=9)
