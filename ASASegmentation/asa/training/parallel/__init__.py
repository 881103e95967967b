"""Several processes at one run: ranks, sharded weights, clusters."""
