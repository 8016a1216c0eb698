"""What an output must be, compiled once and followed token by token, through llguidance.

llguidance is imported here alone, and not before it is used: an engine without it serves everything else, and refuses
constraints by name.
"""

from chorus_engine.constraints.gate import ConstraintGate
from chorus_engine.constraints.room import ConstraintRoom

__all__ = ["ConstraintGate", "ConstraintRoom"]
