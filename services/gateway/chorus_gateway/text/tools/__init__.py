"""Calls of tools in what models write: read as they arrive, demanded by grammars, and shown to chat templates."""
