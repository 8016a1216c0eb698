"""The gateway's end of engine.proto: one stream an engine carries every request."""
