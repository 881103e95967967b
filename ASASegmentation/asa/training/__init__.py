"""The training loop, its settings, checkpoints and losses; each kind of run in a folder of its own."""
