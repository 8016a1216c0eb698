"""Who changed what: a log that is only ever added to, each entry chained to the one before by its hash."""

from chorus_gateway.audit.entry import Change, Entry
from chorus_gateway.audit.log import AuditLog, Recording
from chorus_gateway.audit.verifier import Head, Verdict

__all__ = ["AuditLog", "Change", "Entry", "Head", "Recording", "Verdict"]
