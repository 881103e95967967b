"""Reproducible seeds: of a sample, from the run's seed and the sample's index."""

from __future__ import annotations

import hashlib

import torch

SPACING = 40  # bits: no run comes near 2^40 samples


def sample_seed(run: int, index: int) -> int:
    """Return the seed of everything random about sample ``index`` of the run with this seed."""
    return (run << SPACING) + index


def generator(*numbers: int) -> torch.Generator:
    """Return a separate CPU generator for each tuple of numbers, the same on every machine.

    ``manual_seed`` of PyTorch's CPU generator keeps only the low 32 bits of what it is given, so seeds that differ
    above draw the same numbers. Every bit is mixed in first.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """One number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def chance(rng: torch.Generator, probability: float) -> bool:
    """True with this probability; draws in any case, so that options do not shift what is drawn after them."""
    return float(torch.rand((), generator=rng)) < probability


def step_seed(run: int, step: int, rank: int) -> int:
    """Seed of what networks draw themselves (dropout) in a step: another one in each process, whose samples differ."""
    return generator(run, step, rank).initial_seed()
