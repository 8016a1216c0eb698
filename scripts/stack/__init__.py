"""The four processes of a Chorus on one machine: their settings, secrets, start, health and first content."""
