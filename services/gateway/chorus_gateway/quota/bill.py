"""Whose limits a request comes under, what it may use of them, and what it used."""

from dataclasses import dataclass

from chorus_gateway.prices import cost, most
from chorus_gateway.prices.cost import SCALE
from chorus_gateway.quota.base import Subject, SubjectKind, Used, Wanted
from chorus_gateway.tenants.terms import ModelTerms
from chorus_gateway.values import Price, Principal, ResolvedModel, Tenant, Usage


@dataclass(frozen=True, slots=True)
class Bill:
    """Of one request: its tenant, its key and, of an adapter, the tenant's use of that adapter."""

    tenant: str
    subjects: tuple[Subject, ...]
    price: Price

    @classmethod
    def of(cls, principal: Principal, tenant: Tenant, model: ResolvedModel, terms: ModelTerms) -> "Bill":
        subjects = _askers(principal, tenant)
        if model.adapter is not None:
            adapter = f"{model.owner}/{model.adapter_name}"
            subjects = (*subjects, Subject(SubjectKind.ADAPTER, adapter, terms.limits))
        return cls(tenant.id, subjects, terms.price)

    @classmethod
    def of_counting(cls, principal: Principal, tenant: Tenant) -> "Bill":
        """Of a request that no engine hears of: it counts as one, and uses no tokens and no money."""
        return cls(tenant.id, _askers(principal, tenant), Price())

    def wanted(self, request_id: str, bound: Usage) -> Wanted:
        tokens = bound.prompt_tokens + bound.completion_tokens
        dearest = most(self.price, bound.prompt_tokens, bound.completion_tokens)
        return Wanted(request_id, self.tenant, self.subjects, tokens, dearest)

    def used(self, usage: Usage) -> Used:
        return Used(usage.prompt_tokens + usage.completion_tokens, cost(self.price, usage))

    def largest(self, prompt: int, answers: int) -> int | None:
        """Most tokens of each of the `answers` to a prompt of `prompt` tokens that the subjects could ever be granted;
        at least 1, and None where nothing bounds it."""
        bounds: list[int] = []
        for subject in self.subjects:
            limits = subject.limits
            bounds += [each - prompt for each in (limits.tokens_per_minute, limits.tokens_per_day) if each is not None]
            if limits.budget is not None and self.price.output:
                left = limits.budget - most(self.price, prompt, 0)
                bounds.append(left * SCALE // self.price.output)
        return max(1, min(bounds) // answers) if bounds else None


def _askers(principal: Principal, tenant: Tenant) -> tuple[Subject, ...]:
    return (
        Subject(SubjectKind.TENANT, tenant.id, tenant.limits),
        Subject(SubjectKind.KEY, principal.key_id, principal.limits),
    )
