"""The usage ledger: each admitted request once in SQL, whatever becomes of the process that took it."""

from chorus_gateway.ledger.books import Books, Keeping
from chorus_gateway.ledger.ledger import Ledger
from chorus_gateway.ledger.recording import Admits, recorded
from chorus_gateway.ledger.values import Admission, Outcome

__all__ = ["Admission", "Admits", "Books", "Keeping", "Ledger", "Outcome", "recorded"]
