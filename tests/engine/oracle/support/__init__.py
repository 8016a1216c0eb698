"""transformers + PEFT as the oracle of the engine's tokens, and what it takes to drive a runner by hand."""
