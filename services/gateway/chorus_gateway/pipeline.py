"""The path of a request, in order: docs/request-path.md tells it in prose, `Pipeline.run` is it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chorus_gateway.answer import Answer, Opening
from chorus_gateway.ask import Ask
from chorus_gateway.choices import Choices
from chorus_gateway.engine_client.inbox import Inbox
from chorus_gateway.errors import PermissionDenied
from chorus_gateway.ledger import Admission, Admits, recorded
from chorus_gateway.meter import RequestMeter
from chorus_gateway.planning import plan_jobs, refuse_hopeless, upper_bound
from chorus_gateway.queue.bands import in_band
from chorus_gateway.quota.base import Quota, Reservation
from chorus_gateway.quota.bill import Bill
from chorus_gateway.reserving import reserved
from chorus_gateway.routing.claims import Claims
from chorus_gateway.routing.dispatcher import Dispatcher
from chorus_gateway.telemetry import Metrics, Tracing
from chorus_gateway.telemetry.tracing import extract
from chorus_gateway.tenants.terms import ModelTerms
from chorus_gateway.text.cache import TokenizerCache
from chorus_gateway.text.tokenizer import ModelTokenizer
from chorus_gateway.text.tools.demand import demanding
from chorus_gateway.values import Job, Principal, ResolvedModel, Scope, Tenant


class Authenticator(Protocol):
    async def authenticate(self, authorization: str | None, scope: Scope, client: str | None = None) -> Principal: ...


class Models(Protocol):
    async def resolve(
        self, tenant: Tenant, name: str, chooser: str = "", allowed: frozenset[str] | None = None
    ) -> ResolvedModel: ...


class TermsOf(Protocol):
    async def of(self, tenant_id: str, model: ResolvedModel) -> ModelTerms: ...


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    request_timeout: float = 600.0  # seconds from arrival to the last token
    # Tokens that a choice may have when its request names no maximum and the context leaves more.
    default_max_tokens: int = 16_384
    # Tokens of one choice that may wait for its client before it counts as too slow.
    stream_buffer_tokens: int = 4096


class Pipeline:
    def __init__(
        self,
        *,
        auth: Authenticator,
        models: Models,
        terms: TermsOf,
        tokenizers: TokenizerCache,
        quota: Quota,
        ledger: Admits,
        claims: Claims,
        dispatcher: Dispatcher,
        metrics: Metrics,
        tracing: Tracing,
        limits: PipelineLimits,
    ) -> None:
        self._auth = auth
        self._models = models
        self._terms = terms
        self._tokenizers = tokenizers
        self._quota = quota
        self._ledger = ledger
        self._claims = claims
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._tracing = tracing
        self._limits = limits

    async def run(self, ask: Ask, answer: Answer) -> None:
        """Answers `ask` by writing to `answer`. Raises a GatewayError; `answer` may have begun by then."""
        with self._tracing.span("gateway.request", parent=extract(ask.trace)), RequestMeter(self._metrics) as meter:
            principal = await self._auth.authenticate(ask.authorization, Scope.INFER, ask.client)
            tenant = tenant_of(principal)
            ask = in_band(ask, tenant)
            meter.tenant = tenant.id
            model = await self._models.resolve(tenant, ask.model, ask.user or ask.request_id, principal.models)
            bill = Bill.of(principal, tenant, model, await self._terms.of(tenant.id, model))
            tokenizer = await self._tokenizers.get(model.base.tokenizer_digest)
            refuse_hopeless(ask, model, tokenizer.longest_token)
            prompts = await tokenizer.encode_all(ask.prompts, ask.prompt_field)
            ask = demanding(ask, tokenizer)
            jobs = self._plan(ask, tenant, model, bill, prompts)
            choices = self._choices(ask, jobs, tokenizer, meter)
            wanted = bill.wanted(ask.request_id, upper_bound(jobs, ask.n))
            async with reserved(self._quota, wanted, lambda: bill.used(choices.billed())) as reservation:
                # From here on it is in the ledger, whatever becomes of this process.
                admission = _admission(ask, principal, model, bill, reservation.at)
                with recorded(self._ledger, admission, choices) as entry:
                    # An adapter that no engine has is loaded by one of them, whichever gateway asks first.
                    await self._claims.settle(model)
                    # Each job waits for its turn and a credit, and goes to the engine that suits it best.
                    with choices.open(), self._dispatcher.carrying(choices.sinks, entry) as convoy:
                        answer.begin(_opening(ask, model, reservation))
                        await choices.deliver(answer, convoy.ended)
            await answer.finish(choices.usage())

    def _plan(
        self, ask: Ask, tenant: Tenant, model: ResolvedModel, bill: Bill, prompts: Sequence[tuple[int, ...]]
    ) -> list[Job]:
        return plan_jobs(
            ask,
            tenant,
            model,
            prompts,
            deadline=time.monotonic() + min(self._limits.request_timeout, ask.timeout),
            default_max_tokens=tenant.default_max_tokens or self._limits.default_max_tokens,
            largest=bill.largest,
        )

    def _choices(self, ask: Ask, jobs: Sequence[Job], tokenizer: ModelTokenizer, meter: RequestMeter) -> Choices:
        inbox = Inbox(self._limits.stream_buffer_tokens * len(jobs))
        return Choices(ask, jobs, tokenizer=tokenizer, inbox=inbox, meter=meter, tracing=self._tracing)


def tenant_of(principal: Principal) -> Tenant:
    if principal.tenant is None:
        raise PermissionDenied(
            "This key belongs to no tenant, so it cannot be used for completions: use a tenant's key.",
            code="permission_denied",
        )
    return principal.tenant


def _admission(ask: Ask, principal: Principal, model: ResolvedModel, bill: Bill, at: float) -> Admission:
    adapter = "" if model.adapter is None else f"{model.owner}/{model.adapter_name}"
    return Admission(
        request_id=ask.request_id,
        at=at,
        tenant=bill.tenant,
        key=principal.key_id,
        base=model.base.name,
        adapter=adapter,
        generation=model.generation,
        band=ask.band,
        price=bill.price,
        n=ask.n,
    )


def _opening(ask: Ask, model: ResolvedModel, reservation: Reservation) -> Opening:
    return Opening(ask.request_id, model, ask.band, created=int(time.time()), headers=reservation.headers)
