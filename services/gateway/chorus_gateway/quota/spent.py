"""What the quota asks the usage ledger, which remembers what Redis may lose."""

from typing import Protocol

from chorus_gateway.quota.base import Subject, Used
from chorus_gateway.values import Period


class Spent(Protocol):
    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        """Delivered tokens and their cost of all ended requests of `subject` that were admitted in the day or month
        (of UTC) which holds now, or ever.

        May lack what ended in the last quarter of a second. Unavailable when the database is away.
        """
        ...


class NothingSpent:
    """For a gateway without a ledger: every counter begins at zero."""

    async def spent(self, tenant: str, subject: Subject, period: Period) -> Used:
        return Used()
