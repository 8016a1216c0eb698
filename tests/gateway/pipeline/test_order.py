"""What the pipeline reserves, observes, and hands on: quota, metrics, spans, and the order among tenants."""

import asyncio
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chorus_gateway.errors import InvalidRequest, RateLimited
from chorus_gateway.pipeline import PipelineLimits
from chorus_gateway.values import Band, Limits, Principal, Scope, Tenant
from tests.gateway.support.answers import Heard, ask
from tests.gateway.support.fake_engine import FakeEngine, Reply
from tests.gateway.support.gateway import KEY, Gateway, GatewaySettings, eventually, running_gateway
from tests.gateway.support.tokenizers import END, ids

PROMPT = len(ids("hello"))


def as_tenant(gateway: Gateway, tenant: Tenant, key: str = KEY) -> None:
    gateway.keys.principals[key] = Principal("k", frozenset({Scope.INFER}), tenant)


async def test_an_upper_bound_is_reserved_and_what_was_used_is_settled(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines[:1]) as gateway:
        heard = Heard()
        await gateway.pipeline.run(ask(max_tokens=50, n=2), heard)
        produced = 2 * (len(ids("first")) + 1)
        assert gateway.quota.reserved == [PROMPT + 2 * 50]
        assert gateway.quota.settled == [PROMPT + produced]
        assert heard.usage is not None
        assert (heard.usage.prompt_tokens, heard.usage.completion_tokens) == (PROMPT, produced)
        assert heard.opening is not None
        assert heard.opening.headers == {"x-ratelimit-limit-requests": "7"}


@pytest.mark.parametrize(
    ("grant", "default", "expected"), [(None, 1000, 512 - PROMPT), (None, 40, 40), (100, 1000, 100 - PROMPT)]
)
async def test_what_is_reserved_without_a_maximum(
    engines: list[FakeEngine], grant: int | None, default: int, expected: int
) -> None:
    settings = GatewaySettings(limits=PipelineLimits(default_max_tokens=default))
    async with running_gateway(engines[:1], settings) as gateway:
        as_tenant(gateway, Tenant("acme", Limits(tokens_per_minute=grant)))
        await gateway.pipeline.run(ask(max_tokens=None), Heard())
        assert engines[0].submits[0].sampling.max_tokens == expected


async def test_a_refused_reservation_reaches_no_engine(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        as_tenant(gateway, Tenant("acme", Limits(requests_per_minute=1)))
        await gateway.pipeline.run(ask("one"), Heard())
        with pytest.raises(RateLimited):
            await gateway.pipeline.run(ask("two"), Heard())
        assert sum(len(engine.submits) for engine in engines) == 1
        assert len(gateway.quota.settled) == 1


async def test_a_cancellation_while_reserving_leaves_no_place_taken(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        await gateway.pipeline.run(ask("warm"), Heard())
        for steps in range(12):
            task = asyncio.create_task(gateway.pipeline.run(ask(f"r{steps}"), Heard()))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await gateway.settles()


async def test_metrics(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines[:1]) as gateway:
        await gateway.pipeline.run(ask(), Heard())
        engines[0].replier = lambda submit: Reply([], hang=True)
        task = asyncio.create_task(gateway.pipeline.run(ask("left"), Heard()))
        await eventually(lambda: gateway.dispatcher.running == 1)
        task.cancel()
        await asyncio.wait([task])

        def sample(name: str, **labels: str) -> float | None:
            return gateway.metrics.registry.get_sample_value(name, labels)

        tokens = len(ids("first")) + 1
        assert sample("prompt_tokens_total") == PROMPT
        assert sample("generation_tokens_total") == tokens
        assert sample("time_to_first_token_seconds_count") == 1
        assert sample("inter_token_latency_seconds_count") == tokens - 1
        assert sample("time_per_output_token_seconds_count") == 1
        assert sample("e2e_request_latency_seconds_count") == 1
        assert sample("request_queue_time_seconds_count") == 2
        assert sample("request_success_total", finished_reason="stop") == 1
        assert sample("request_success_total", finished_reason="cancelled") == 1


async def test_spans_go_from_the_request_to_the_queue_to_the_engine(engines: list[FakeEngine]) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with running_gateway(engines[:1], GatewaySettings(tracer_provider=provider)) as gateway:
        await gateway.pipeline.run(ask(trace={"traceparent": f"00-{trace_id}-{parent_id}-01"}), Heard())
        spans = {span.name: span for span in exporter.get_finished_spans()}
        assert spans.keys() == {"gateway.request", "gateway.queue", "gateway.engine"}
        request = spans["gateway.request"]
        assert request.parent is not None
        assert f"{request.parent.span_id:016x}" == parent_id
        for name in ("gateway.queue", "gateway.engine"):
            parent = spans[name].parent
            assert parent is not None
            assert parent.span_id == request.context.span_id
        engine = spans["gateway.engine"].context
        assert engines[0].submits[0].traceparent == f"00-{trace_id}-{engine.span_id:016x}-01"
    provider.shutdown()


async def test_tenants_that_wait_share_the_engine(engines: list[FakeEngine]) -> None:
    engine = engines[0]
    engine.description.max_num_seqs = 1
    engine.replier = lambda submit: Reply([*ids("some words"), END])
    async with running_gateway([engine]) as gateway:
        as_tenant(gateway, Tenant("many"), "many")
        as_tenant(gateway, Tenant("few"), "few")
        engine.granting = False
        asks = [ask(f"many{at}", authorization="Bearer many") for at in range(12)]
        asks += [ask(f"few{at}", authorization="Bearer few") for at in range(4)]
        tasks = [asyncio.create_task(gateway.pipeline.run(each, Heard())) for each in asks]
        await eventually(lambda: gateway.dispatcher.waiting == 16)
        engine.granting = True
        await gateway.pipeline.run(replace(ask("urgent"), band=Band.PRIORITY), Heard())
        await asyncio.gather(*tasks)
        served = [submit.tenant_tag for submit in engine.submits]
        assert served[0] == "acme", "the priority band goes first"
        assert served[1:9].count("few") == 4, "while both wait, both are served alike"
        assert {submit.request_id for submit in engine.submits[1:]} == {f"{each.request_id}-0" for each in asks}


async def test_credits_that_nobody_needs_go_back(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        await asyncio.gather(*(gateway.pipeline.run(ask(f"r{at}"), Heard()) for at in range(20)))
        await eventually(lambda: all(engine.outstanding == 0 for engine in engines))
        assert sum(len(engine.submits) for engine in engines) == 20
        assert all(engine.submits for engine in engines), "both had a share"


async def test_an_empty_prompt_reserves_nothing(engines: list[FakeEngine]) -> None:
    async with running_gateway(engines) as gateway:
        with pytest.raises(InvalidRequest, match="no tokens"):
            await gateway.pipeline.run(ask(prompts=("",), prompt_field="prompt"), Heard())
        assert gateway.quota.reserved == []
