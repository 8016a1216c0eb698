"""What a gateway takes an engine to have, after any frames."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_gateway.engine_client.residency import Residency, Tier
from chorus_gateway.engine_client.session import Session
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_residency import joined


def held(**tiers: pb.Tier) -> list[pb.Held]:
    return [pb.Held(digest=digest, tier=tier) for digest, tier in tiers.items()]


def test_nothing_before_the_first_word() -> None:
    residency = Residency()
    assert (len(residency), residency.tier("d")) == (0, Tier.ABSENT)
    assert residency.take_changes() == set()


def test_whole_then_what_changed() -> None:
    residency = Residency()
    residency.receive(pb.Residency(whole=True, held=held(a=pb.TIER_GPU, b=pb.TIER_HOST)))
    assert residency.take_changes() == {"a", "b"}
    residency.receive(pb.Residency(held=held(b=pb.TIER_LOADING, c=pb.TIER_FETCHING), gone=["a", "unknown"]))
    assert [residency.tier(digest) for digest in "abc"] == [Tier.ABSENT, Tier.LOADING, Tier.FETCHING]
    assert residency.take_changes() == {"a", "b", "c"}
    residency.receive(pb.Residency(whole=True, held=held(c=pb.TIER_FETCHING)))
    assert [residency.tier(digest) for digest in "abc"] == [Tier.ABSENT, Tier.ABSENT, Tier.FETCHING]
    assert residency.take_changes() == {"b"}, "only what is another one than before"


def test_a_tier_that_is_not_known_yet() -> None:
    residency = Residency()
    message = pb.Residency(held=[pb.Held(digest="d")])
    message.held[0].MergeFromString(b"\x10\x09")  # tier 9
    residency.receive(message)
    assert residency.tier("d") is Tier.HOST


def test_the_numbers_are_the_wires() -> None:
    assert {tier.name: tier.value for tier in Tier if tier is not Tier.ABSENT} == {
        name.removeprefix("TIER_"): value for name, value in pb.Tier.items() if value
    }


def test_a_session_takes_it_in() -> None:
    session = Session("worker", lambda: None)
    session.receive(pb.EngineFrame(residency=pb.Residency(whole=True, held=held(d=pb.TIER_GPU))))
    load = pb.Load(running=2, waiting=3, free_slots=4, idle_slots=5, stalled=True)
    session.receive(pb.EngineFrame(credits=2, load=load))
    assert session.residency.tier("d") is Tier.GPU
    assert (session.load.requests, session.load.free_slots, session.load.idle_slots) == (5, 4, 5)
    assert session.load.stalled
    assert session.granted == 2


FRAMES = st.builds(
    lambda whole, tiers, gone: pb.Residency(whole=whole, held=held(**tiers), gone=sorted(gone - tiers.keys())),
    st.booleans(),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from([pb.TIER_HOST, pb.TIER_LOADING, pb.TIER_GPU])),
    st.sets(st.sampled_from("abcd")),
)


@settings(deadline=None)
@given(st.lists(FRAMES))
def test_frames_that_were_merged_say_the_same(frames: list[pb.Residency]) -> None:
    singly, together, merged = Residency(), Residency(), pb.Residency()
    for frame in frames:
        singly.receive(frame)
        merged = joined(merged, frame)
    together.receive(merged)
    assert [singly.tier(digest) for digest in "abcd"] == [together.tier(digest) for digest in "abcd"]
