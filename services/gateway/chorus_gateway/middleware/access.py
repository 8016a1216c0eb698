"""Counts answers by route and status."""

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNMATCHED = "unmatched"


class AccessMetrics:
    """Labels are bounded: a route is the template that matched, never the path that was asked for. A request whose
    client went before the answer began is counted as 499."""

    def __init__(self, app: ASGIApp, requests: Counter) -> None:
        self._app = app
        self._requests = requests
        self._counters: dict[tuple[str, int], Counter] = {}  # those that were counted in before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            route = getattr(scope.get("route"), "path", None) or UNMATCHED
            self._counter(route, status).inc()

    def _counter(self, route: str, status: int) -> Counter:
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._requests.labels(route=route, status=str(status))
        return counter
