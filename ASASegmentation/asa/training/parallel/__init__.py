"""Distributed training: ranks, sharded weights, clusters."""
