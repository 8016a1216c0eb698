"""The adapter store: which bytes an adapter's name means."""
