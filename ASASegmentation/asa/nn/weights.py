"""Plausibility check of network weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from asa.errors import ModelError

# Of networks that work, the variances of batch normalisation are the largest: 2e5 in the models that ship.
LARGEST = 1e9


def check_weights(weights: Mapping[str, Tensor], source: object) -> None:
    """Refuse weights that are NaN, infinite or absurdly large: what they compute is no segmentation.

    Args:
        weights: name -> tensor; integers are passed over.
        source: what the sentence calls them.

    Raises:
        ModelError: a tensor is so; the first one is named.
    """
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = (float(value) for value in tensor.aminmax())
        if not (low > -LARGEST and high < LARGEST):  # false for NaN too
            raise ModelError(
                f"The weights of {source} are not usable: '{name}' has values from {low:g} to {high:g}. "
                "The file is damaged, or the training diverged; install the model again or train it again."
            )
