"""Skull stripping with the tissue model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.errors import InputError
from asa.geometry import Alignment
from asa.models import find_model
from asa.preprocessing.normalise import zscore
from asa.tasks import TISSUE
from asa.volume import Volume
from asa.volume.masks import fill_holes

if TYPE_CHECKING:
    from asa.inference.predictor import Predictor


@dataclass(frozen=True)
class TissueModel:
    """A :class:`asa.data.stripping.Stripper`: grey and white matter and all CSF within the meninges.

    Attributes:
        model: name or folder; None takes the task's own.
        device: ``auto``, ``cpu`` or ``cuda:N``.
    """

    model: str | None = None
    device: str = "auto"

    def __call__(self, path: Path, framed: Volume, alignment: Alignment) -> npt.NDArray[np.bool_]:
        """Brain mask (T, H, W) on the brain frame: the largest part, without holes.

        Raises:
            InputError: the model sees no brain.
        """
        posterior = _predictor(self.model, self.device).posterior(zscore(framed.array)[None])
        parts, count = ndimage.label(posterior[0] < 0.5)
        if count == 0:
            raise InputError(f"The tissue model found no brain in {path.name}.")
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        return fill_holes(parts == sizes.argmax())

    def labels(self, framed: Volume) -> npt.NDArray[np.uint8]:
        """Return the labels of the tissue task (T, H, W) on the brain frame, the most likely class of each voxel."""
        posterior = _predictor(self.model, self.device).posterior(zscore(framed.array)[None])
        values = np.array([0, *(label.value for label in TISSUE.labels)], np.uint8)
        labels: npt.NDArray[np.uint8] = values[posterior.argmax(axis=0)]
        return labels


@lru_cache(maxsize=1)
def _predictor(model: str | None, device: str) -> Predictor:
    from asa.inference.predictor import Predictor  # late: it imports torch

    return Predictor.on(find_model(model, "tissue"), device)
