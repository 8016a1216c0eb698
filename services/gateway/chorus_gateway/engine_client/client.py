"""The connection to one engine: a channel, a stream that is always read, and another one when it breaks."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import grpc
import grpc.aio

from chorus_gateway.credentials import open_channel
from chorus_gateway.engine_client.codec import Failure, orphaned_value
from chorus_gateway.engine_client.session import Session
from chorus_gateway.engine_client.usage import Orphaned, SubmissionId
from chorus_gateway.errors import Unavailable
from chorus_gateway.values import BaseModel, Needs
from chorus_proto.engine.v1 import engine_pb2 as pb
from chorus_proto.engine.v1 import engine_pb2_grpc

_log = logging.getLogger(__name__)

_CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    # An engine that vanished or stopped without a word is noticed within 8 s. Engines allow a ping every 2 s.
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),  # gRPC's own, a minute, would win over the keepalive's
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_FIRST_DELAY, _LAST_DELAY = 0.1, 2.0  # seconds between attempts to connect
_DESCRIBE_TIMEOUT = 5.0
_TOKENIZER_TIMEOUT = 60.0
_USAGE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Description:
    """What an engine said of itself when it was last connected to."""

    engine_id: str
    base: BaseModel
    max_num_seqs: int
    max_lora_rank: int
    outer_modules: frozenset[str] = frozenset()  # that adapters may have

    def can_hold(self, needs: Needs) -> bool:
        """Whether an adapter with these needs may be sent there."""
        return needs.rank <= self.max_lora_rank and needs.outer_modules <= self.outer_modules


class Events(Protocol):
    """Hears of an engine's comings and goings, in the event loop."""

    def connected(self, engine: "EngineClient") -> None: ...

    def news(self, engine: "EngineClient") -> None:
        """A frame has been taken in: there may be new credits."""

    def lost(self, engine: "EngineClient") -> None: ...


class EngineClient:
    """`run` keeps a session open until it is cancelled. `session` is None while there is none. TLS with
    `credentials`."""

    def __init__(
        self,
        address: str,
        *,
        service_token: str,
        worker_id: str,
        created: int,
        events: Events,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.address = address
        self.session: Session | None = None
        self.description: Description | None = None
        self._worker_id = worker_id
        self._created = created
        self._events = events
        self._metadata = (("authorization", f"Bearer {service_token}"),)
        self._wake = asyncio.Event()
        self._channel = open_channel(address, credentials, _CHANNEL_OPTIONS)
        # On an aio channel the one stub class answers as the typed stubs call EngineAsyncStub.
        self._stub = cast("engine_pb2_grpc.EngineAsyncStub", engine_pb2_grpc.EngineStub(self._channel))

    def __repr__(self) -> str:
        return f"EngineClient({self.address!r}, connected={self.session is not None})"

    async def run(self) -> None:
        delay = _FIRST_DELAY
        try:
            while True:
                try:
                    await self._converse()
                    reason = "the engine ended the stream"
                except grpc.aio.AioRpcError as error:
                    reason = f"{error.code().name}: {error.details()}"
                except Exception as error:
                    # An engine that breaks the protocol must not end the watch over it.
                    _log.exception("engine not understood", extra={"address": self.address})
                    reason = repr(error)
                delay = _FIRST_DELAY if self._lose(reason) else min(2 * delay, _LAST_DELAY)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
        finally:
            self._lose("the gateway is closing the connection")
            await self._channel.close()

    async def fetch_tokenizer(self, digest: str) -> bytes:
        """The bundle's bytes. Unavailable when the engine does not answer or does not have it."""
        request = pb.FetchTokenizerRequest(digest=digest)
        call = self._stub.FetchTokenizer(request, metadata=self._metadata, timeout=_TOKENIZER_TIMEOUT)
        try:
            return b"".join([chunk.data async for chunk in call])
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"The engine at {self.address} did not give its tokenizer: {error.details()}.") from error

    async def orphaned_usage(self, worker_id: str) -> Orphaned:
        """What the engine keeps for the worker until it is acknowledged. Unavailable when it does not answer."""
        request = pb.OrphanedUsageRequest(worker_id=worker_id)
        try:
            answer = await self._stub.OrphanedUsage(request, metadata=self._metadata, timeout=_USAGE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Orphaned({}, frozenset())
            raise Unavailable(f"The engine at {self.address} does not answer: {error.details()}.") from error
        return orphaned_value(answer)

    async def acknowledge_usage(self, worker_id: str, submissions: Sequence[SubmissionId]) -> None:
        """The engine may forget these. Unavailable when it does not answer."""
        named = [pb.SubmissionId(request_id=each.request_id, attempt=each.attempt) for each in submissions]
        request = pb.AcknowledgeUsageRequest(worker_id=worker_id, submissions=named)
        try:
            await self._stub.AcknowledgeUsage(request, metadata=self._metadata, timeout=_USAGE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"The engine at {self.address} does not answer: {error.details()}.") from error

    async def _converse(self) -> None:
        """One session, from Describe to its end."""
        answer = await self._stub.Describe(pb.DescribeRequest(), metadata=self._metadata, timeout=_DESCRIBE_TIMEOUT)
        self.description = self._described(answer)
        call = self._stub.Session(metadata=self._metadata)
        session = self.session = Session(self._worker_id, self._wake.set)
        self._wake.set()
        writer = asyncio.create_task(self._write(call, session))
        try:
            _log.info("engine connected", extra={"address": self.address, "engine": self.description.engine_id})
            self._events.connected(self)
            async for frame in call:
                session.receive(frame)
                self._events.news(self)
        finally:
            writer.cancel()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(
        self, call: "grpc.aio.StreamStreamCall[pb.GatewayFrame, pb.EngineFrame]", session: Session
    ) -> None:
        # When the stream breaks, the reader learns why; here it only means that nothing more can be said.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (frame := session.take()) is not None:
                    await call.write(frame)

    def _lose(self, reason: str) -> bool:
        """Whether there was a session to lose."""
        if (session := self.session) is None:
            return False
        _log.warning("engine lost", extra={"address": self.address, "reason": reason})
        self.session = None
        session.lost(Failure(Unavailable("The connection to the engine was lost: try again."), retry=True, fault=True))
        self._events.lost(self)
        return True

    def _described(self, answer: pb.DescribeResponse) -> Description:
        base = BaseModel(
            name=answer.model.name,
            digest=answer.model.digest,
            tokenizer_digest=answer.tokenizer_digest,
            max_model_len=answer.max_model_len,
            eos_token_ids=tuple(answer.eos_token_ids),
            created=self._created,
            hidden_size=answer.model.hidden_size,
        )
        return Description(
            answer.engine_id,
            base,
            answer.max_num_seqs,
            answer.max_lora_rank,
            frozenset(module.path for module in answer.model.outer_modules),
        )
