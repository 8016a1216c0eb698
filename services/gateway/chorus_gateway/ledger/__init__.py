"""The usage ledger: each admitted request once in SQL, whatever becomes of the process that took it."""

from chorus_gateway.ledger.adoption import Adoption
from chorus_gateway.ledger.entry import Entry
from chorus_gateway.ledger.journal import Journal
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.orphans import Orphans
from chorus_gateway.ledger.recording import recorded
from chorus_gateway.ledger.spent import LedgerSpent
from chorus_gateway.ledger.store import UsageStore
from chorus_gateway.ledger.values import Admission, Outcome
from chorus_gateway.ledger.writer import Writer, keep_synced, prune

__all__ = [
    "Admission",
    "Adoption",
    "Entry",
    "Journal",
    "Ledger",
    "LedgerSpent",
    "Orphans",
    "Outcome",
    "UsageStore",
    "Writer",
    "keep_synced",
    "prune",
    "recorded",
]
