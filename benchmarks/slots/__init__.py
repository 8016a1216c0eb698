"""Adapters as a fleet: what is asked for, and how it is answered."""
