"""Training of every stage: pure losses, one step, one loop."""
