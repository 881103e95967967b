"""Sliding-window inference with Gaussian weights, shared by inference, validation and inspection."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from asa.nn.position import Grid3


def window_starts(size: int, window: int, patch: int, overlap: float = 0.5) -> list[int]:
    """First voxels, multiples of ``patch``, of windows that cover ``size`` and overlap by this share about."""
    count = max(1, math.ceil((size - window) / (window * (1 - overlap))) + 1)
    return sorted({round(i * (size - window) / max(1, count - 1) / patch) * patch for i in range(count)})


@lru_cache(maxsize=1)
def gaussian_window(window: Grid3) -> Tensor:
    """Return the weights (T, H, W) of a window, highest in its middle; sigma is an eighth of the side."""
    axes = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).clamp(min=1e-3) for n in window]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def blend_windows(
    scan: Grid3,
    window: Grid3,
    starts: Sequence[Sequence[int]],
    run: Callable[[tuple[slice, slice, slice], Grid3], Tensor],
    progress: Callable[[float], None] = lambda _: None,
) -> Tensor:
    """What ``run`` gives for each window, (K, T, H, W) on the CPU, blended into one of the size of ``scan``.

    Args:
        scan: voxels (T, H, W) of the whole.
        window: those of a window.
        starts: for each axis, the first voxels of the windows; see :func:`window_starts`.
        run: the voxels of a window, and the first of them, -> its answer (K, T, H, W).
        progress: called with the share that is done.
    """
    weight = gaussian_window(window)
    total: Tensor | None = None
    norm = torch.zeros(scan)
    places = list(itertools.product(*starts))
    for number, (t, h, w) in enumerate(places, start=1):
        box = (slice(t, t + window[0]), slice(h, h + window[1]), slice(w, w + window[2]))
        part = run(box, (t, h, w)) * weight
        total = torch.zeros(len(part), *scan) if total is None else total
        total[(slice(None), *box)] += part
        norm[box] += weight
        progress(number / len(places))
    assert total is not None
    return total / norm
