"""What can be asked of the engine, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.geometry import Alignment
from asa.inference.quality import Trust
from asa.models import ModelFolder
from asa.volume import Volume


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment.

    Attributes:
        images: modality key -> file.
        task: a key of :data:`asa.tasks.TASKS`.
        model: folder or name; None takes the task's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        tta: test-time augmentation (left-right flip): average with what the network makes of the mirrored image;
            None takes the model's default.
        align: ``auto`` registers to the brain frame; ``none`` trusts the file's affine to be MNI152 already.
        threads: CPU threads; None leaves PyTorch's choice.
        posterior: keep the class probabilities in the scan's grid.
        threshold: probability, above 0 and below 1, from which on a voxel is labelled; None takes the likeliest class,
            or the model's own threshold of each region.
        reference: modality whose grid the result is on; None takes the one the task names first of those given.
    """

    images: Mapping[str, Path]
    task: str = "tissue"
    model: str | None = None
    device: str = "auto"
    tta: bool | None = None
    align: str = "auto"
    threads: int | None = None
    posterior: bool = False
    threshold: float | None = None
    reference: str | None = None


@dataclass(frozen=True)
class SegmentResult:
    """What came out; all volumes are on the grid of ``image``.

    Attributes:
        labels: uint8 label map with the values of the task.
        image: the scan the labels belong to, the reference.
        brain: uint8 brain mask.
        posterior: (K, T, H, W) float16 probabilities of background and the labels, or None.
        alignment: how the reference lies in the brain frame.
        reference: modality key of ``image``.
        used: modality keys the network saw.
        series: modality key -> how it was placed, as report.json tells it.
        trust: whether a person must look at the result, and why.
        timings: seconds of each stage.
        warnings: sentences for the user.
    """

    labels: Volume
    image: Volume
    brain: Volume
    posterior: npt.NDArray[np.float16] | None
    model: ModelFolder
    alignment: Alignment
    reference: str
    used: tuple[str, ...]
    series: Mapping[str, Mapping[str, object]]
    trust: Trust
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
