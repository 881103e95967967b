"""Reconstruction losses of the masked auto-encoder (paper Eq. 2)."""

from __future__ import annotations

from torch import Tensor


def patch_errors(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each patch: two (B, N, M) -> (B, N), in float32."""
    return (reconstruction.float() - target.float()).square().mean(-1)


def attentive_loss(errors: Tensor, weights: Tensor) -> Tensor:
    """Eq. 2, averaged over the batch: L = sum_i p_i * e_i, for errors and weights (B, N).

    The weights sum to 1 over the hidden patches, so L itself has the scale of the mean squared error: with equal
    weights it is that error. It must not be multiplied by the number N of patches; N * L is N times as large.
    """
    return (weights * errors).sum(1).mean()


def normalised_patches(patches: Tensor) -> Tensor:
    """Return each patch with mean 0 and variance 1 over its own voxels: (B, N, M) -> (B, N, M)."""
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()
