"""The engines of one base model as they are at this moment."""

from collections.abc import Callable, Sequence

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.queue.lane import ANYWHERE, Aim
from chorus_gateway.routing.choose import Candidate, ceiling, choose, over, preferred
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises


class View:
    """Made anew for every question, and dropped when a request was sent: it remembers what it has worked out."""

    def __init__(self, members: Sequence[Member], promises: Promises) -> None:
        """`members` are connected."""
        self.members = members
        self.takers = [member for member in members if member.takes]
        self._promises = promises
        self._limit: float | None = None
        self._targets: dict[Aim, Sequence[Member]] = {}

    @property
    def limit(self) -> float:
        if self._limit is None:
            self._limit = ceiling([_bare(member) for member in self.takers])
        return self._limit

    def tier(self, member: Member, adapter: str) -> Tier:
        """FETCHING also where it was promised and does not show yet."""
        tier = member.tier(adapter)
        promised = tier is Tier.ABSENT and self._promises.engine(adapter) == member.id
        return Tier.FETCHING if promised else tier

    def placed(self, adapter: str) -> bool:
        """Whether an engine that takes requests has the adapter, or is about to."""
        return any(self.tier(member, adapter) is not Tier.ABSENT for member in self.takers)

    def aim(self, adapter: str | None) -> Aim:
        """Where a request should go as things are."""
        if adapter is None or len(self.takers) < 2:
            return ANYWHERE
        engines = preferred(self._candidates(self.takers, adapter))
        return Aim(
            frozenset(engine.id for engine in engines), firm=any(engine.tier is Tier.FETCHING for engine in engines)
        )

    def targets(self, aim: Aim) -> Sequence[Member]:
        """Of the engines aimed at, those that may be waited for; when there are none, all that take requests."""
        if not aim.engines:
            return self.takers
        if aim not in self._targets:
            mine = [member for member in self.takers if member.id in aim.engines]
            free = [member for member in mine if aim.firm or not over(_bare(member), self.limit)]
            self._targets[aim] = free or self.takers
        return self._targets[aim]

    def best(self, members: Sequence[Member], adapter: str | None) -> Member:
        """Of some engines that take requests; there must be one."""
        if len(members) == 1:
            return members[0]
        chosen = choose(self._candidates(members, adapter), adapter, self.limit)
        return next(member for member in members if member.id == chosen.id)

    def _candidates(self, members: Sequence[Member], adapter: str | None) -> list[Candidate]:
        return [self._candidate(member, adapter) for member in members]

    def _candidate(self, member: Member, adapter: str | None) -> Candidate:
        if adapter is None:
            return _bare(member)
        load = member.session.load
        return Candidate(
            member.id,
            member.load,
            member.capacity,
            tier=self.tier(member, adapter),
            free_slots=load.free_slots,
            idle_slots=load.idle_slots,
            coming=self._promises.count(member.id),
        )


def _bare(member: Member) -> Candidate:
    return Candidate(member.id, member.load, member.capacity)


# The engines of a base model (digest).
Look = Callable[[str], View]
