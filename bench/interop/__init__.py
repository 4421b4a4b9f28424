"""Meeting the released models: names of their checkpoints, and verification against recorded numbers."""
