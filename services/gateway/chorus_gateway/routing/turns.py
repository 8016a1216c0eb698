"""Which waiting job goes to which engine next.

A job whose adapter is at an engine waits for a credit of that engine, for as long as no other has room for it or its
patience lasts, and stands in nobody's way: every engine is told of the best job that may go to it, in the fair order.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chorus_gateway.engine_client.codec import Head
from chorus_gateway.engine_client.residency import Tier
from chorus_gateway.queue.fair import FairQueue, Front
from chorus_gateway.queue.lane import Aim, Place
from chorus_gateway.routing.member import Member
from chorus_gateway.routing.prefixes import Prefixes
from chorus_gateway.routing.promises import Promises
from chorus_gateway.routing.view import Look, View
from chorus_gateway.values import Job

_PROMISED = 5.0  # seconds within which an engine that was sent a request shows its adapter


@dataclass(frozen=True, slots=True)
class Patience:
    """`first` is how long a job waits for the engine that has its adapter while another one has room. After `last` it
    also gives up on engines that grant nothing at all, so that nothing can hold it for ever. Seconds."""

    first: float = 0.1
    last: float = 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    place: Place
    member: Member  # has a credit
    tier: Tier  # where the engine shows the job's adapter
    aged: bool = False  # it goes before all, as its band was passed over too often

    @property
    def near(self) -> bool:
        """Whether it can run there without an adapter being brought to a slot."""
        return self.place.job.model.adapter is None or self.tier is Tier.GPU


class Turns:
    """Holds every waiting job of the queue from `enter` to `leave` or `take`."""

    def __init__(
        self,
        queue: FairQueue,
        look: Look,
        promises: Promises,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        *,
        deficit: float = 0.0,
    ) -> None:
        """`deficit`: weighted tokens by which a tenant may be behind another one of its band and be passed over, if the
        other's job needs no adapter brought to a slot and its own does."""
        self.patience = patience
        self._deficit = deficit
        self._queue = queue
        self._look = look
        self._promises = promises
        self._prefixes = Prefixes()
        self._clock = clock
        # By base model: jobs that may still be aimed, by when they began to wait, oldest first.
        self._since: dict[str, dict[Place, float]] = {}
        self._by_adapter: dict[str, dict[Place, None]] = {}  # the same jobs
        # By base model and engine: how many credits it had granted when `lapse` looked last, and since when no more.
        self._grants: dict[str, dict[Member, tuple[int, float]]] = {}

    def enter(self, job: Job) -> Place:
        """QueueFull when a bound is reached."""
        return self._watch(self._queue.push(job, self._aim(job)))

    def follow(self, job: Job) -> Place:
        """A further job of a request that was let in: whatever the bounds."""
        return self._watch(self._queue.follow(job, self._aim(job)))

    def reenter(self, job: Job, order: int) -> Place:
        """A job that was sent and is to be sent again."""
        return self._watch(self._queue.requeue(job, order, self._aim(job)))

    def leave(self, place: Place) -> None:
        """It waits no more."""
        self._queue.remove(place)
        self._unwatch(place)

    def serve(self, model: str, send: Callable[[Turn], None]) -> None:
        """Has the best job, in fair order, sent as long as one can be; `send` calls `take` and spends the credit. Then
        tells every engine what waits for it. What an engine granted for nothing is given back."""
        view = self._look(model)
        while True:
            fronts = self._queue.fronts(model)
            turn = _next(fronts, view, self._deficit)
            if turn is None:
                break
            if len(view.takers) > 1:
                self._prefixes.note(turn.place.job, turn.member.id)
            send(turn)
            if self._queue.waiting(model):
                view = self._look(model)
        _advertise(fronts, view)

    def take(self, turn: Turn) -> float:
        """It is sent to the engine. The output tokens that its tenant is charged in advance."""
        place, adapter = turn.place, turn.place.job.model.adapter
        advance = self._queue.pop(place)
        self._unwatch(place)
        if adapter is not None and turn.tier is Tier.ABSENT and self._promises.engine(adapter) != turn.member.id:
            # It loads the adapter now. Others that wait for it need not have it loaded elsewhere too.
            self._promises.note(adapter, turn.member.id, _PROMISED)
            self.aim_again(place.job.model.base.digest, [adapter])
        return advance

    def heard(self, member: Member) -> None:
        """The engine has spoken: adapters may be elsewhere than they were."""
        changed = member.session.residency.take_changes()
        for adapter in changed:
            if member.tier(adapter) is not Tier.ABSENT:
                self._promises.forget(adapter)
        if changed:
            self.aim_again(member.description.base.digest, changed)

    def aim_again(self, model: str, adapters: Iterable[str] | None = None) -> None:
        """The adapters are elsewhere than they were, or the engines are others (None is all adapters)."""
        view = self._look(model)
        if adapters is None:
            for place in self._queue.places(model):
                if not place.aim.engines:
                    self._move(place, view.anywhere(place.job.model.needs))
        for adapter in list(self._by_adapter) if adapters is None else adapters:
            for place in list(self._by_adapter.get(adapter, ())):
                if place.job.model.base.digest == model:
                    self._move(place, self._aim_at(view, place.job))

    def aimed(self, model: str) -> bool:
        """Whether jobs wait that `lapse` may have to free."""
        return any(aim.engines for aim in self._queue.aims(model))

    def lapse(self, model: str) -> None:
        """Jobs that have waited for too long may go to any engine: as many as others have room for, and those whose
        engines grant nothing."""
        now, view = self._clock(), self._look(model)
        rooms = {member.id: member.capacity - member.load for member in view.takers}
        silent = self._silent(model, view, now)
        for place, since in list(self._since.get(model, {}).items()):
            if now - since < self.patience.first:
                break
            aimed, never = place.aim.engines, place.aim.never
            elsewhere = (engine for engine, room in rooms.items() if room > 0 and engine not in aimed | never)
            roomy = next(elsewhere, None)
            hopeless = now - since > self.patience.last and aimed <= silent
            if aimed and (roomy is not None or hopeless):
                self._queue.move(place, view.anywhere(place.job.model.needs))
                self._unwatch(place)
                if roomy is not None:
                    rooms[roomy] -= 1

    def check(self) -> None:
        """What is watched waits, and is found both by its age and by its adapter."""
        waiting = {place for model in self._queue.models() for place in self._queue.places(model)}
        watched = [place for places in self._since.values() for place in places]
        assert set(watched) <= waiting
        assert len(watched) == sum(map(len, self._by_adapter.values()))
        assert all(place in self._by_adapter[place.job.model.adapter or ""] for place in watched)
        assert all(place in watched for place in waiting if place.aim.engines)
        assert all(list(ages.values()) == sorted(ages.values()) for ages in self._since.values())

    def _silent(self, model: str, view: View, now: float) -> frozenset[str]:
        """Engines that have granted nothing for as long as anything waits."""
        seen = self._grants.get(model, {})
        grants: dict[Member, tuple[int, float]] = {}
        for member in view.takers:
            granted, at = seen.get(member, (-1, now))
            grants[member] = (granted, at) if granted == member.session.granted else (member.session.granted, now)
        self._grants[model] = grants
        return frozenset(member.id for member, (_, at) in grants.items() if now - at > self.patience.last)

    def _aim(self, job: Job) -> Aim:
        return self._aim_at(self._look(job.model.base.digest), job)

    def _aim_at(self, view: View, job: Job) -> Aim:
        return view.aim(job.model, self._prefixes.engines(job)) if len(view.takers) > 1 else view.aim(job.model)

    def _move(self, place: Place, aim: Aim) -> None:
        if aim != place.aim:
            self._queue.move(place, aim)

    def _watch(self, place: Place) -> Place:
        model = place.job.model
        if model.adapter is not None or place.aim.engines:
            self._since.setdefault(model.base.digest, {})[place] = self._clock()
            self._by_adapter.setdefault(model.adapter or "", {})[place] = None
        return place

    def _unwatch(self, place: Place) -> None:
        model = place.job.model
        watched = self._since.get(model.base.digest, {})
        if place not in watched:
            return
        adapter = model.adapter or ""
        del watched[place], self._by_adapter[adapter][place]
        if not watched:
            del self._since[model.base.digest]
        if not self._by_adapter[adapter]:
            del self._by_adapter[adapter]


def _next(fronts: Sequence[Front], view: View, deficit: float) -> Turn | None:
    """`fronts` are in fair order. The first that can be sent, or one little behind it that has its adapter nearer."""
    best: tuple[Front, Turn] | None = None
    for front in fronts:
        if best is not None and not _close(best[0], front, deficit):
            break
        ready = [member for member in view.targets(front.place.aim) if member.session.credits]
        if not ready:
            continue
        turn = _turn(front, ready, view)
        if turn.near:
            return turn
        best = best or (front, turn)
        if not deficit:
            break
    return None if best is None else best[1]


def _close(first: Front, other: Front, deficit: float) -> bool:
    """In counters of one band, that is."""
    return first.rank[0] == other.rank[0] and other.rank[1] <= first.rank[1] + deficit


def _turn(front: Front, ready: Sequence[Member], view: View) -> Turn:
    adapter = front.place.job.model.adapter
    member = view.best(ready, adapter)
    return Turn(front.place, member, Tier.ABSENT if adapter is None else member.tier(adapter), front.aged)


def _advertise(fronts: Sequence[Front], view: View) -> None:
    waiting: dict[Member, int] = dict.fromkeys(view.members, 0)
    first: dict[Member, Front] = {}
    for front in fronts:
        for member in view.targets(front.place.aim):
            waiting[member] += front.waiting
            first.setdefault(member, front)
    for member in view.members:
        front_ = first.get(member)
        if front_ is None:
            member.session.return_credits()
            member.session.advertise(None)
        else:
            job, counter = front_.place.job, front_.rank[1]
            head = Head(waiting[member], job.band, counter, job.tenant.id, front_.stride, front_.aged, front_.alike)
            member.session.advertise(head)
