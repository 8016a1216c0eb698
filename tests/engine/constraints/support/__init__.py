"""The demo's model with an adapter and constraints, run by scheduler and runner without services."""
