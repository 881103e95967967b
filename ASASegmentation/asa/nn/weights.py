"""Network weights: their plausibility, and errors while they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from safetensors import SafetensorError
from torch import Tensor

from asa.errors import ModelError

# Of networks that work, the variances of batch normalisation are the largest: 2e5 in the models that ship.
LARGEST = 1e9


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the OSError that writing safetensors met: the library raises its own exception for every failure.

    Raises:
        OSError: no room, no permission, or the file cannot be written for another reason.
    """
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"(.*) \(os error (\d+)\)", str(error).rpartition("I/O error: ")[2])
        raise (OSError(int(found[2]), found[1]) if found else OSError(str(error))) from error


def check_weights(weights: Mapping[str, Tensor], source: object) -> None:
    """Refuse weights that are NaN, infinite or absurdly large: their output is not a segmentation.

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
