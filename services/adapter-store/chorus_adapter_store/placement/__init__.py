"""Which engines hold which adapters: one store at a time decides, and engines do what they can of it."""
