"""Engines of a pool, with real sessions and no sockets."""

from types import SimpleNamespace
from typing import Any, cast

from chorus_gateway.engine_client.client import Description, EngineClient
from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.engine_client.session import Session
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.registry import Announcement
from chorus_gateway.values import BaseModel
from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.values import base


def member(
    engine: str, *, capacity: int = 8, rank: int = 64, outer: str = "", model: BaseModel | None = None, **tiers: Tier
) -> Member:
    """Connected. `tiers`: where it has which adapters. `outer`: modules outside the layers that adapters may have."""
    client = SimpleNamespace(
        address=engine,
        session=Session("worker", lambda: None),
        description=Description(engine, model or base(), capacity, rank, frozenset(outer.split())),
    )
    made = Member(cast(EngineClient, client), cast(Any, None), Announcement(engine, engine))
    hold(made, **tiers)
    return made


def hold(member: Member, **tiers: Tier) -> None:
    """ABSENT is to have it no more."""
    held = [pb.Held(digest=digest, tier=pb.Tier.Name(tier.value)) for digest, tier in tiers.items() if tier]
    gone = [digest for digest, tier in tiers.items() if not tier]
    member.session.receive(pb.EngineFrame(residency=pb.Residency(held=held, gone=gone)))


def grant(member: Member, credits: int = 1) -> None:
    member.session.receive(pb.EngineFrame(credits=credits))


def load(member: Member, requests: int, **fields: Any) -> None:
    member.session.receive(pb.EngineFrame(load=pb.Load(running=requests, **fields)))


def head(member: Member) -> pb.Head | None:
    """What was advertised to it since this was last asked; None is nothing new."""
    frame = member.session.take()
    return frame.head if frame is not None and frame.HasField("head") else None
