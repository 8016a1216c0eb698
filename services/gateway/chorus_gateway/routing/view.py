"""The engines of one base model as they are at this moment."""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.queue.lane import ANYWHERE, Aim
from chorus_gateway.routing.choose import Candidate, ceiling, choose, preferred
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.promises import Promises
from chorus_gateway.values import Needs, ResolvedModel

_LITTLE = 1.25


class View:
    """Made anew for every question, and dropped when a request was sent: it remembers what it has worked out."""

    def __init__(self, members: Sequence[Member], promises: Promises) -> None:
        """`members` are connected."""
        self.members = members
        # One that was ejected is better than none.
        self.takers = [member for member in members if member.takes] or [each for each in members if each.willing]
        self._promises = promises
        self._targets: dict[Aim, Sequence[Member]] = {ANYWHERE: self.takers}

    def tier(self, member: Member, adapter: str) -> Tier:
        """FETCHING also where it was promised and does not show yet."""
        tier = member.tier(adapter)
        promised = tier is Tier.ABSENT and self._promises.engine(adapter) == member.id
        return Tier.FETCHING if promised else tier

    def placed(self, adapter: str) -> bool:
        """Whether an engine that takes requests has the adapter, or is about to."""
        return any(self.tier(member, adapter) is not Tier.ABSENT for member in self.takers)

    def aim(self, model: ResolvedModel, warm: Collection[str] = ()) -> Aim:
        """Where a request should go as things are. `warm`: ids of engines that may have the beginning of its prompt,
        preferred among those that are as near to its adapter."""
        adapter = model.adapter
        if adapter is None:
            idle = [member.id for member in self.takers if member.id in warm and self._spares(member)]
            return Aim(frozenset(idle)) if idle and len(self.takers) > 1 else ANYWHERE
        anywhere = self.anywhere(model.needs)
        able = self.targets(anywhere)
        holders = [
            Candidate(member.id, member.load, member.capacity, tier)
            for member in able
            if (tier := self.tier(member, adapter)) is not Tier.ABSENT
        ]
        if len(able) < 2 or not holders:
            return anywhere
        nearest = preferred(holders, self._limit)
        spare = {member.id for member in able if member.id in warm and self._spares(member)} if warm else set()
        nearest = [engine for engine in nearest if engine.id in spare] or nearest
        return anywhere._replace(
            engines=frozenset(engine.id for engine in nearest),
            firm=all(each.tier is Tier.FETCHING for each in holders),
        )

    def anywhere(self, needs: Needs) -> Aim:
        """Any engine but those that cannot hold an adapter with these needs; all of them when none can, as the one that
        is asked says why."""
        unable = frozenset(member.id for member in self.members if not member.description.can_hold(needs))
        return ANYWHERE if len(unable) == len(self.members) else Aim(never=unable)

    def able(self, needs: Needs) -> Sequence[Member]:
        """Of those, the engines that take requests."""
        return self.targets(self.anywhere(needs))

    def targets(self, aim: Aim) -> Sequence[Member]:
        """Of the engines aimed at, those that may be waited for; when there are none, all that may be sent it."""
        found = self._targets.get(aim)
        if found is None:
            busy = frozenset() if aim.firm else self._busy
            able = [member for member in self.takers if member.id not in aim.never]
            mine = [member for member in able if member.id in aim.engines and member.id not in busy]
            found = self._targets[aim] = mine or able
        return found

    def best(self, members: Sequence[Member], adapter: str | None) -> Member:
        """Of some engines that take requests; there must be one."""
        if len(members) == 1:
            return members[0]
        chosen = choose([self._candidate(member, adapter) for member in members], adapter, self._limit)
        return next(member for member in members if member.id == chosen.id)

    def _spares(self, member: Member) -> bool:
        """Whether it is little busier than its size's share of all requests: computing a prompt again costs less than
        waiting behind others, which bringing an adapter does not."""
        load, capacity = self._totals
        return member.load < _LITTLE * load * member.capacity / capacity + 1

    @cached_property
    def _totals(self) -> tuple[int, int]:
        return sum(member.load for member in self.takers), sum(member.capacity for member in self.takers)

    @cached_property
    def _limit(self) -> float:
        return ceiling(*self._totals)

    @cached_property
    def _busy(self) -> frozenset[str]:
        """Engines that are too busy to be waited for."""
        return frozenset(member.id for member in self.takers if member.load >= self._limit * member.capacity)

    def _candidate(self, member: Member, adapter: str | None) -> Candidate:
        if adapter is None:
            return Candidate(member.id, member.load, member.capacity)
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


# The engines of a base model (digest).
Look = Callable[[str], View]
