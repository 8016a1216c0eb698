"""Random requests, endings, deaths, pauses and losses against the oracle."""

import asyncio
from collections.abc import Awaitable
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chorus_gateway.errors import InvalidRequest, QuotaExceeded, RateLimited
from chorus_gateway.quota import MemoryQuota, RedisQuota
from chorus_gateway.quota.base import Outstanding, Subject, SubjectKind, Used, Wanted
from chorus_gateway.values import Limits, Period
from tests.gateway.quota.conftest import CLOCK_KEY, START, TIMEOUT, AnyQuota, scripts_by
from tests.gateway.quota.oracle import Grant, Oracle
from tests.gateway.support.redis_server import RedisServer, redis_client
from tests.support.often import often

EXAMPLES, STEPS = 12, 30
GATEWAYS = 2
LEASE = 100.0  # seconds: longer than a minute's bucket remembers

# So tight that each limit is in the way often.
TENANT = Subject(
    SubjectKind.TENANT,
    "acme",
    Limits(9, 700, 1900, 4, budget=5000, budget_period=Period.TOTAL),
)
KEYS = (
    Subject(SubjectKind.KEY, "bounded", Limits(None, 400, None, None, budget=1500, budget_period=Period.MONTH)),
    Subject(SubjectKind.KEY, "free"),
)
ADAPTER = Subject(SubjectKind.ADAPTER, "acme/sql", Limits(7, None, 500, 3, budget=900, budget_period=Period.DAY))
TOKENS = st.sampled_from([1, 40, 150, 250, 399, 400, 401, 501, 650, 700, 701])
COSTS = st.sampled_from([0, 1, 200, 400, 700, 900, 901])
SHARES = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0])
SECONDS = st.sampled_from([0.001, 1.5, 7.25, 20.0, 33.3, 55.0, 60.0, 110.0, 180.0])
T = TypeVar("T")


class QuotaMachine(RuleBasedStateMachine):
    server: ClassVar[RedisServer]
    shared: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.oracle = Oracle(START, LEASE)
        self.quotas: list[AnyQuota] = [MemoryQuota(self.oracle, lease=LEASE, clock=self.oracle.clock)]
        if self.shared:
            self.redis = redis_client(self.server.url)
            self.quotas = [self.gateway() for _ in range(GATEWAYS)]
            self.run(self.redis.flushall())
            self.tell_time()

    def gateway(self) -> RedisQuota:
        return RedisQuota(
            self.redis,
            self.oracle,
            lease=LEASE,
            timeout=TIMEOUT,
            scripts=scripts_by(CLOCK_KEY),
            patience=0.0,
            clock=self.oracle.clock,
        )

    def teardown(self) -> None:
        try:
            for grant in self.oracle.alive:
                self.settle(grant, Used())
            self.move(LEASE)
            assert self.outstanding() == Outstanding(0, 0, 0, 0, 0)
        finally:
            if self.shared:
                for quota in self.redis_quotas():
                    self.run(quota.aclose())
                self.run(self.redis.aclose())
            self.runner.close()

    def redis_quotas(self) -> list[RedisQuota]:
        return [quota for quota in self.quotas if isinstance(quota, RedisQuota)]

    def outstanding(self) -> Outstanding:
        return self.run(self.quotas[0].outstanding("acme"))

    def run(self, work: Awaitable[T]) -> T:
        async def whole() -> T:
            result = await work
            while others := asyncio.all_tasks() - {asyncio.current_task()}:  # counts in the background
                await asyncio.wait(others)
            return result

        return self.runner.run(whole())

    def tell_time(self) -> None:
        if self.shared:
            self.run(self.redis.set(CLOCK_KEY, round(self.oracle.now * 1e6)))

    def move(self, seconds: float) -> None:
        self.oracle.advance(seconds)
        self.tell_time()
        self.outstanding()  # what lapses does so now, and not at the next request

    def renew(self) -> None:
        for quota in self.redis_quotas():
            self.run(quota.renew())
        self.oracle.renew()

    def settle(self, grant: Grant, used: Used) -> None:
        self.run(self.quotas[grant.gateway].settle(grant.reservation, used))
        grant.used = used

    @rule(
        tokens=TOKENS,
        cost=COSTS,
        key=st.sampled_from(KEYS),
        adapter=st.booleans(),
        pick=st.integers(0, 99),
    )
    def reserve(self, tokens: int, cost: int, key: Subject, adapter: bool, pick: int) -> None:
        subjects = (TENANT, key, ADAPTER) if adapter else (TENANT, key)
        wanted = Wanted("r", "acme", subjects, tokens, cost)
        try:
            gateway = pick % len(self.quotas)
            reservation = self.run(self.quotas[gateway].reserve(wanted))
        except InvalidRequest:
            assert any(
                tokens > (subject.limits.tokens_per_minute or tokens)
                or cost > (subject.limits.budget or cost)
                or tokens > (subject.limits.tokens_per_day or tokens)
                for subject in subjects
            )
        except (RateLimited, QuotaExceeded):
            assert not self.oracle.must_grant(wanted)
        else:
            assert not self.oracle.must_refuse(wanted)
            self.oracle.granted(wanted, reservation, gateway)

    @precondition(lambda self: self.oracle.alive)
    @rule(pick=st.integers(0, 99), share=SHARES)
    def end(self, pick: int, share: float) -> None:
        grant = self.oracle.alive[pick % len(self.oracle.alive)]
        self.settle(grant, Used(int(grant.wanted.tokens * share), int(grant.wanted.cost * share)))

    @rule(pick=st.integers(0, 99))
    def end_again(self, pick: int) -> None:
        ended = [grant for grant in self.oracle.grants if grant.used is not None and not grant.dead]
        if ended:
            grant = ended[pick % len(ended)]
            self.run(self.quotas[grant.gateway].settle(grant.reservation, Used()))

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        if self.shared:  # gateways that live renew in time
            while seconds > LEASE / 2:
                self.move(LEASE / 2)
                self.renew()
                seconds -= LEASE / 2
        self.move(round(seconds, 6))
        if self.shared:
            self.renew()

    @precondition(lambda self: not self.oracle.running)
    @rule()
    def half_a_day_passes(self) -> None:
        self.move(43_200)

    @precondition(lambda self: self.shared)
    @rule(gateway=st.integers(0, GATEWAYS - 1))
    def kill(self, gateway: int) -> None:
        self.oracle.die(gateway)
        self.run(self.redis_quotas()[gateway].aclose())
        self.quotas[gateway] = self.gateway()

    @precondition(lambda self: self.shared)
    @rule()
    def lose_everything(self) -> None:
        self.run(self.redis.flushall())
        self.oracle.lose()
        self.tell_time()
        self.renew()

    @invariant()
    def what_is_held_is_what_runs(self) -> None:
        running = self.oracle.running
        found = self.outstanding()
        bounded = [[subject for subject in grant.wanted.subjects if subject.bounded] for grant in running]
        assert (found.leases, found.records) == (len(running), len(running))
        assert found.in_flight == sum(len(subjects) for subjects in bounded)


@pytest.mark.hypothesis
@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
def test_a_quota_grants_what_it_must_and_no_more(shared_redis_server: RedisServer, shared: bool) -> None:
    machine = type("Machine", (QuotaMachine,), {"server": shared_redis_server, "shared": shared})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=often(EXAMPLES),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
