"""What SQL has of batches, for those that work on them."""

from dataclasses import dataclass

from chorus_gateway.batches.leases import Leases
from chorus_gateway.batches.results import Results
from chorus_gateway.db import Database
from chorus_gateway.files import FileStore


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    leases: Leases
    results: Results
    files: FileStore

    @classmethod
    def of(cls, database: Database, files: FileStore, *, lease_seconds: float) -> "Stores":
        return cls(database, Leases(database, seconds=lease_seconds), Results(database, files), files)
