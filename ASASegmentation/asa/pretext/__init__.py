"""Pre-training without labels: what is hidden, what matters, what is asked of the network."""

from asa.pretext.losses import attentive_loss, patch_errors, plain_loss
from asa.pretext.masking import brain_patches, random_mask
from asa.pretext.vhog import WEIGHT_MODES, histograms, importance, masked_weights

__all__ = [
    "WEIGHT_MODES",
    "attentive_loss",
    "brain_patches",
    "histograms",
    "importance",
    "masked_weights",
    "patch_errors",
    "plain_loss",
    "random_mask",
]
