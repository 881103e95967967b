"""What comes back of a segmentation; :mod:`asa.request` has what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from asa.geometry import Alignment
from asa.inference.head import Head
from asa.inference.quality import Trust
from asa.models import ModelFolder
from asa.volume import Volume


@dataclass(frozen=True)
class SegmentResult:
    """What came out; all volumes are on the grid of ``image``.

    Attributes:
        labels: uint8 label map with the values of the task.
        image: the scan the labels belong to, the reference.
        brain: uint8 brain mask.
        posterior: (K, T, H, W) float16 probabilities of background and the labels, or None.
        alignment: of the reference with the brain frame.
        reference: modality key of ``image``.
        used: modality keys the network saw.
        series: modality key -> its placement, as in report.json.
        device: where the network computed.
        trust: whether the result must be reviewed, and why.
        head: the images in their places, to segment them again.
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
    device: str
    trust: Trust
    head: Head
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
