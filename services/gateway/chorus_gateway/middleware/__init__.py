"""What surrounds every HTTP request, as plain ASGI: nothing here buffers a stream or hides a disconnect."""

from chorus_gateway.middleware.access import AccessMetrics
from chorus_gateway.middleware.body_limit import BodyLimit
from chorus_gateway.middleware.client_address import ClientAddress
from chorus_gateway.middleware.failures import CatchFailures
from chorus_gateway.middleware.request_id import RequestId

__all__ = ["AccessMetrics", "BodyLimit", "CatchFailures", "ClientAddress", "RequestId"]
