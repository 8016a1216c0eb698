"""The last resort: what nobody expected is logged once with the request's id, and the client learns only that."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chorus_gateway.api.errors import error_response
from chorus_gateway.errors import Internal

log = logging.getLogger(__name__)


class CatchFailures:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_seen(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        except ClientDisconnect:
            return  # nobody is left to tell
        except Exception:
            request_id = scope.get("state", {}).get("request_id", "")
            log.exception("a request failed", extra={"request_id": request_id, "path": scope.get("path")})
            if started:
                raise  # the server cuts the connection, which is all that can be said now
            failure = Internal(f"The gateway failed on this request; quote its id {request_id} to your administrator.")
            await error_response(failure)(scope, receive, send)
