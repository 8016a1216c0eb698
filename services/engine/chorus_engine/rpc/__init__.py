"""The engine's wire: protobuf becomes `core` values here, and goes no further."""

from chorus_engine.rpc.bundle import TokenizerBundle, read_bundle
from chorus_engine.rpc.credentials import Credentials, read_credentials
from chorus_engine.rpc.credits import STANDING, CreditLedger
from chorus_engine.rpc.seats import SeatPlan, Seats
from chorus_engine.rpc.server import create_server
from chorus_engine.rpc.service import Description, EngineService
from chorus_engine.rpc.sessions import Engine, Sessions
from chorus_engine.rpc.submission import Limits
from chorus_engine.rpc.usage import UsageBook

__all__ = [
    "STANDING",
    "Credentials",
    "CreditLedger",
    "Description",
    "Engine",
    "EngineService",
    "Limits",
    "SeatPlan",
    "Seats",
    "Sessions",
    "TokenizerBundle",
    "UsageBook",
    "create_server",
    "read_bundle",
    "read_credentials",
]
