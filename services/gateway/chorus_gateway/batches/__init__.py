"""Batches: files of requests, answered at flex priority within a day (docs/adr/0023-batches.md)."""

from chorus_gateway.batches.answering import LineRules
from chorus_gateway.batches.asking import Asker
from chorus_gateway.batches.keys import KeysOfBatches
from chorus_gateway.batches.store import BatchStore
from chorus_gateway.batches.stores import Stores
from chorus_gateway.batches.work import BatchWork

__all__ = ["Asker", "BatchStore", "BatchWork", "KeysOfBatches", "LineRules", "Stores"]
