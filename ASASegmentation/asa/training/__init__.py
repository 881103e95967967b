"""Training loop, settings, checkpoints and losses; one subpackage per kind of run."""
