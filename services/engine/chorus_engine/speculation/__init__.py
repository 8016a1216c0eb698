"""Guesses of what requests say next, and what guessing is worth. Pure Python; the scheduler asks, at planning."""

from chorus_engine.speculation.control import Control
from chorus_engine.speculation.ngram import NgramProposer
from chorus_engine.speculation.proposer import Proposer
from chorus_engine.speculation.scripted import ScriptedProposer
from chorus_engine.speculation.speculator import Speculator, Tally
from chorus_engine.speculation.suffix import SuffixProposer

__all__ = ["Control", "NgramProposer", "Proposer", "ScriptedProposer", "Speculator", "SuffixProposer", "Tally"]
