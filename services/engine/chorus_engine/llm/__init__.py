"""The engine without services, in the caller's own process: for evaluation and for making data.

from chorus_engine.llm import LLM, Sampling

llm = LLM("examples/demo/model", {"reverse": "examples/demo/adapters/reverse"})
[answer] = llm.generate(["Reverse the word garden."], Sampling(max_tokens=16, temperature=0), adapter="reverse")
"""

from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import AdapterUnusable, ConstraintRefused, EngineError, InvalidRequest, StartError
from chorus_engine.core.request import BeamParams, EarlyStopping, Pooling, SampledToken
from chorus_engine.llm.answers import Completion, Found, Piece
from chorus_engine.llm.llm import LLM
from chorus_engine.llm.sampling import Sampling

__all__ = [
    "LLM",
    "AdapterUnusable",
    "BeamParams",
    "Completion",
    "Constraint",
    "ConstraintKind",
    "ConstraintRefused",
    "EarlyStopping",
    "EngineError",
    "Found",
    "InvalidRequest",
    "Piece",
    "Pooling",
    "SampledToken",
    "Sampling",
    "StartError",
]
