"""What was said to engines and not answered yet, and what was answered a moment ago."""

from dataclasses import dataclass, field

from chorus_adapter_store.placement.fleet import Command, Result

PATIENCE = 30.0  # seconds for a command to begin; then the engine drops it
_LOST = PATIENCE + 5.0
_REST = {"done": 5.0, "failed": 10.0, "refused": 30.0}  # seconds before the same is said again


@dataclass(slots=True)
class Ledger:
    """Times are seconds since 1970, by Redis' clock."""

    _sent: dict[tuple[str, str], tuple[Command, float]] = field(default_factory=dict)  # by engine and Redis' id of it
    _resting: dict[Command, float] = field(default_factory=dict)  # until when

    def send(self, command_id: str, command: Command, now: float) -> None:
        self._sent[command.engine_id, command_id] = command, now

    def end(self, result: Result, now: float) -> Command | None:
        """What it was; None when this ledger never sent it or gave it up."""
        found = self._sent.pop((result.engine_id, result.command_id), None)
        if found is None:
            return None
        self._resting[found[0]] = now + _REST[result.status]
        return found[0]

    def expire(self, now: float) -> list[Command]:
        """Those that will not be answered any more."""
        lost = {each: command for each, (command, at) in self._sent.items() if now - at > _LOST}
        for each in lost:
            del self._sent[each]
        self._resting = {command: until for command, until in self._resting.items() if now < until}
        return list(lost.values())

    @property
    def pending(self) -> frozenset[Command]:
        return frozenset(command for command, _ in self._sent.values())

    @property
    def resting(self) -> frozenset[Command]:
        return frozenset(self._resting)
