"""Tenants' files, in SQL in chunks (docs/adr/0023-batches.md says why)."""

from chorus_gateway.files.store import FileStore, Page
from chorus_gateway.files.sweeper import Sweeper
from chorus_gateway.files.upload import Upload
from chorus_gateway.files.values import File, FileLimits, Purpose

__all__ = ["File", "FileLimits", "FileStore", "Page", "Purpose", "Sweeper", "Upload"]
