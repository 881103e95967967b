"""Self-supervised pretext tasks: masking, VHOG weights, objectives."""

from asa.pretext.losses import attentive_loss, patch_errors
from asa.pretext.masking import brain_patches, random_mask
from asa.pretext.objectives import (
    METHODS,
    Explanation,
    Method,
    Reconstruction,
    ReconstructionOptions,
    make_objective,
    position_scheme,
)
from asa.pretext.vhog import WEIGHT_MODES, histograms, importance, masked_weights

__all__ = [
    "METHODS",
    "WEIGHT_MODES",
    "Explanation",
    "Method",
    "Reconstruction",
    "ReconstructionOptions",
    "attentive_loss",
    "brain_patches",
    "histograms",
    "importance",
    "make_objective",
    "masked_weights",
    "patch_errors",
    "position_scheme",
    "random_mask",
]
