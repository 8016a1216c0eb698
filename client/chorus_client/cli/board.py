"""What `chorus top` shows: engines, then tenants with their last minute."""

from collections import deque
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chorus_client.cli.cells import text
from chorus_client.cli.output import Column, empty_table, rows_of
from chorus_client.values import EngineActivity, Live, TenantActivity

MINUTE = 30  # looks that a sparkline shows
BAR = 12  # signs of a bar
LEVELS = "▁▂▃▄▅▆▇█"
INCOMPLETE = "Redis is away: these are the requests of one gateway worker alone."


def sparkline(values: Sequence[float]) -> str:
    """Against the largest of them; what is 0 is the lowest."""
    most = max(values, default=0.0)
    if not most:
        return LEVELS[0] * len(values)
    return "".join(LEVELS[round(value / most * (len(LEVELS) - 1))] for value in values)


def bar(used: int, total: int) -> str:
    if not total:
        return "-"
    share = min(1.0, used / total)
    full = round(share * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} {share:4.0%}"


STATE: tuple[Column[EngineActivity], ...] = (
    Column("engine", lambda engine: engine.id),
    Column("model", lambda engine: engine.model),
    Column("state", lambda engine: engine.state),
    Column("running", lambda engine: engine.running, right=True),
    Column("waiting", lambda engine: engine.waiting, right=True),
)
ENGINES = (
    *STATE,
    Column[EngineActivity]("KV cache", lambda engine: bar(engine.kv_blocks - engine.kv_blocks_free, engine.kv_blocks)),
    Column[EngineActivity]("slots in use", lambda engine: bar(engine.slots - engine.slots_free, engine.slots)),
)
PLAIN_ENGINES = (
    *STATE,
    Column[EngineActivity]("KV blocks", lambda engine: engine.kv_blocks),
    Column[EngineActivity]("KV blocks free", lambda engine: engine.kv_blocks_free),
    Column[EngineActivity]("slots", lambda engine: engine.slots),
    Column[EngineActivity]("slots free", lambda engine: engine.slots_free),
)
TENANTS: tuple[Column[TenantActivity], ...] = (
    Column("tenant", lambda tenant: tenant.tenant),
    Column("running", lambda tenant: tenant.running, right=True),
    Column("waiting", lambda tenant: tenant.waiting, right=True),
    Column("tokens/s", lambda tenant: f"{tenant.tokens_per_second:.1f}", right=True),
)
STYLES = {"ready": "green", "draining": "yellow", "stalled": "red", "ejected": "red", "away": "red"}


class Board:
    """The last look, and each tenant's tokens a second before it."""

    def __init__(self) -> None:
        self.problem = ""  # why there is no newer look
        self._live: Live | None = None
        self._rates: dict[str, deque[float]] = {}

    def add(self, live: Live) -> None:
        self._live, self.problem = live, ""
        now = {tenant.tenant: tenant.tokens_per_second for tenant in live.tenants}
        for tenant in now.keys() - self._rates.keys():
            self._rates[tenant] = deque(maxlen=MINUTE)
        for tenant, rates in list(self._rates.items()):
            rates.append(now.get(tenant, 0.0))
            if not any(rates) and tenant not in now:
                del self._rates[tenant]

    def text(self) -> str:
        """For a pipe: tab-separated, one blank line between the parts."""
        live = self._shown()
        parts = (
            [["workers", "running", "waiting", "tokens/s"], list(map(text, self._total(live)))],
            [[column.title for column in PLAIN_ENGINES], *rows_of(live.engines, PLAIN_ENGINES)],
            [[column.title for column in TENANTS], *rows_of(live.tenants, TENANTS), *self._others(live)],
        )
        blocks = ["".join("\t".join(row) + "\n" for row in part) for part in parts]
        return "\n".join([*blocks, *([f"{INCOMPLETE}\n"] if not live.complete else [])])

    def screen(self, hint: str = "") -> RenderableType:
        """For a terminal; `hint` is its last line."""
        live = self._shown()
        workers, running, waiting, rate = self._total(live)
        head = Text(f"{running} running  {waiting} waiting  {rate} tokens/s  {workers} gateway workers", style="bold")
        problem = self.problem or ("" if live.complete else INCOMPLETE)
        return Group(
            head,
            Text(problem, style="red"),
            self._engines(live.engines),
            Text(),
            self._tenants(live),
            Text(hint, style="dim"),
        )

    def _engines(self, engines: Sequence[EngineActivity]) -> Table:
        table = empty_table(ENGINES)
        for row in rows_of(engines, ENGINES):
            table.add_row(*map(Text, row[:2]), Text(row[2], style=STYLES.get(row[2], "")), *map(Text, row[3:]))
        return table

    def _tenants(self, live: Live) -> Table:
        table = empty_table(TENANTS)
        table.add_column("last looks")
        for tenant, row in zip(live.tenants, rows_of(live.tenants, TENANTS), strict=True):
            table.add_row(*map(Text, row), Text(sparkline(self._rates[tenant.tenant]), style="cyan"))
        for row in self._others(live):
            table.add_row(*map(Text, row))
        return table

    def _shown(self) -> Live:
        assert self._live is not None
        return self._live

    @staticmethod
    def _total(live: Live) -> tuple[int, int, int, str]:
        total = live.total
        return live.workers, total.running, total.waiting, f"{total.tokens_per_second:.1f}"

    @staticmethod
    def _others(live: Live) -> list[list[str]]:
        others = live.others
        if not (others.running or others.waiting or others.tokens_per_second):
            return []
        return [["(others)", str(others.running), str(others.waiting), f"{others.tokens_per_second:.1f}"]]
