"""What the cases of the engine's contract need: a checkpoint, a process, a store, and a gateway's side of a stream."""
