"""HTTP for buckets that stays where it was sent.

botocore's own client follows a redirect to any host; asked by a server for another region, it asks the server again.
"""

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from aiohttp import ClientError, ClientResponse, ClientSession


class StayingSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is untyped
    async def _get_session(self, proxy_url: str | None) -> "_Staying":
        return _Staying(await super()._get_session(proxy_url))


class _Staying:
    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> ClientResponse:
        response = await self._session.request(*args, allow_redirects=False, **kwargs)
        if response.status in (301, 302, 303, 307, 308):
            response.close()
            raise ClientError(
                f"it answers with a redirect ({response.status}), which is not followed; is AWS_REGION the bucket's?"
            )
        return response
