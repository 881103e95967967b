"""Plausibility checks: reject inputs without a brain and flag doubtful results.

Limits lie between what was measured on development scans (54 series of 30 subjects) and on images of other things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa import doubts
from asa.errors import InputError
from asa.geometry import (
    Alignment,
    TissueContrast,
    described,
    size_deviation,
    template_white_matter,
    tissue_contrast,
)
from asa.geometry.register import DOUBTED_QUALITY
from asa.inference.plausibility import wrap_reasons
from asa.inference.series import Placement
from asa.volume import Volume

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Part of the variance within the brain that tissues explain. Measured: 0.25 and more; a knee 0.12, a bottle 0.05. Below
# the second it is doubted; and refused where the alignment is doubted too (shells of an onion: 0.16).
NO_BRAIN, HARDLY_BRAIN = 0.15, 0.2
# Spread of the brightness of white matter, grey matter and fluid, and what they leave unexplained, over their mean:
# below both all is one substance: of a sphere of water 0.015 and 0.010, of a FLAIR with a large glioma 0.036 and 0.073.
UNIFORM, ONE_SUBSTANCE = 0.06, 0.03
# Brightness of white matter and of fluid less that of grey matter, over the mean of white and grey: how clear an order
# of tissues must be. Small ventricles say little of fluid, oedema brightens white matter in T2.
CLEAR_WHITE, CLEAR_FLUID = 0.06, 0.3
# Roughness of a T1's white matter. Measured on training scans: at most 0.0252 on 46; with two fifths of k-space from
# other poses 0.023 to 0.030 on six of them, and with noise of a third of the brightness at most 0.0265, as noise does
# not spoil labels as motion does.
ROUGH = 0.0275
# Ripples are what lies between these standard deviations in mm: finer is noise, coarser is shading.
RIPPLE_MM = (1.5, 3.0)
# Distance of the quartiles of a normal distribution in standard deviations.
QUARTILES = 1.349
# Natural logarithm of the size along an axis over that of adults. Measured: -0.23 to 0.10 on 35 heads; half as large
# again or a third smaller is 0.41.
UNUSUAL_SIZE = 0.3
# Asymmetry of what changes from T1 to T1Gd; bright vessels and lesions make it positive.
ENHANCED = 0.1
# Mean probability of the class chosen, where it is not background.
UNSURE = 0.7


@dataclass(frozen=True)
class Trust:
    """Whether a result must be reviewed before use; ``reasons`` is empty if it can be trusted."""

    reasons: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``ok`` or ``doubtful``."""
        return "doubtful" if self.reasons else "ok"


def refuse_no_brain(key: str, scan: Volume, alignment: Alignment) -> None:
    """Reject noise, phantoms and other parts of the body.

    Raises:
        InputError: the inside of the scan is not that of a brain, however it is turned.
    """
    contrast = tissue_contrast(scan, alignment)
    tissues = (contrast.white, contrast.grey, contrast.fluid)
    mean = max(sum(tissues) / 3, 1e-6)
    uniform = max(tissues) - min(tissues) < UNIFORM * mean and contrast.variety < ONE_SUBSTANCE * mean
    least = HARDLY_BRAIN if alignment.quality < DOUBTED_QUALITY else NO_BRAIN
    if alignment.method == "estimate" or contrast.explained < least or uniform:
        raise InputError(
            f"The {doubts.image(key)} does not show a recognisable brain (agreement with the atlas "
            f"{contrast.explained:.2f}); check whether it is noise, a phantom or another body part, or has a wrong "
            "orientation or voxel size."
        )


def turn_reasons(placement: Placement) -> Iterator[str]:
    """Yield a doubt if the anchor's header turns the head as no scanner would."""
    alignment = placement.series[placement.anchor].alignment
    if alignment.is_turned and not alignment.turned_about_long_axis:
        yield doubts.wrong_orientation(placement.anchor, described(alignment.turn))


def size_reasons(placement: Placement) -> Iterator[str]:
    """Yield a doubt if by the anchor's header the head is not of the size of an adult's."""
    anchor = placement.series[placement.anchor]
    if anchor.alignment.method == "identity":
        return
    deviation = size_deviation(anchor.scan, anchor.alignment)
    unusual = np.abs(deviation) > UNUSUAL_SIZE
    if not unusual.any():
        return
    axis = int(np.argmax(unusual))
    alone = unusual.sum() == 1 and np.abs(deviation[~unusual]).max() < UNUSUAL_SIZE / 2
    yield doubts.unusual_size(placement.anchor, axis if alone else None, float(np.exp(deviation[axis])))


def pose_notes(placement: Placement) -> Iterator[str]:
    """Yield what is unusual about how the head lies, and yet may be right."""
    alignment = placement.series[placement.anchor].alignment
    if alignment.turned_about_long_axis:
        yield doubts.unusual_position(described(alignment.turn))


def input_reasons(placement: Placement) -> Iterator[str]:
    """Yield doubts about the images, before any network is run, other than how the head is turned."""
    size = list(size_reasons(placement))
    yield from size
    misplaced = bool(size) or any(turn_reasons(placement))
    for key, series in placement.series.items():
        contrast = tissue_contrast(series.scan, series.alignment)
        yield from wrap_reasons(key, series.scan)
        if series.scan.storage.sides_unknown:
            yield doubts.unknown_sides(key)
        if contrast.explained < HARDLY_BRAIN:
            yield doubts.little_tissue(key, contrast.explained)
        likely = likely_modality(contrast)
        if likely is not None and likely != key.removesuffix("gd"):
            yield doubts.other_contrast(key, likely)
        # a head in the wrong place has rough white matter too; then that is not what must be said
        if key == likely == "t1" and not misplaced and not series.alignment.warnings:
            rough = roughness(series.framed.array)
            if rough > ROUGH:
                yield doubts.motion(rough)


def roughness(framed: Map) -> float:
    """How much deep white matter varies over several mm, in parts of its brightness; of a T1 in the brain frame.

    From quartiles, so that an implant, a resection or a lesion counts for little. In other contrasts oedema and lesions
    vary as much as motion makes it.
    """
    white = template_white_matter()
    (box,) = ndimage.find_objects(white.view(np.uint8))
    framed, white = framed[box], white[box]
    fine, coarse = (ndimage.gaussian_filter(framed, sigma, mode="nearest") for sigma in RIPPLE_MM)
    ripple = fine - coarse
    inside = white & (framed > 0)
    middle = float(np.median(framed[inside])) if inside.any() else 0.0
    if middle <= 0:
        return 0.0
    low, high = np.percentile(ripple[inside], (25, 75))
    return float(high - low) / QUARTILES / middle


def likely_modality(contrast: TissueContrast) -> str | None:
    """``t1``, ``t2`` or ``flair`` by the order of white matter, grey matter and fluid; None where it is not clear.

    A T1 with contrast agent has the order of a T1.
    """
    mean = max(0.5 * (contrast.white + contrast.grey), 1e-6)
    white, fluid = (contrast.white - contrast.grey) / mean, (contrast.fluid - contrast.grey) / mean
    if fluid > CLEAR_FLUID:
        return "t2" if white < CLEAR_WHITE else None
    if abs(white) > CLEAR_WHITE:
        return "t1" if white > 0 else "flair"
    return None


def enhancement(t1: Map, t1gd: Map, brain: Mask) -> float:
    """How much further the bright end of the difference of two T1s lies than its dark end, -1 to 1.

    t1, t1gd: (T, H, W) in the brain frame, normalised within ``brain``. Exchanged, they give the opposite number.
    """
    inside = ndimage.binary_erosion(brain, iterations=4)
    if inside.sum() < 1000:
        return 0.0
    change = robust(t1gd[inside]) - robust(t1[inside])
    low, middle, high = np.percentile(change, (0.2, 50, 99.8))
    return float((high + low - 2 * middle) / max(high - low, 1e-6))


def robust(values: Map) -> Map:
    """Grey levels (n,) with median 0 and quartiles 1 apart, whatever the lesions do."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    scaled: Map = (values - middle) / max(high - low, 1e-6)
    return scaled


def exchanged_reasons(channels: Mapping[str, Map], brain: Mask) -> Iterator[str]:
    """Whether the T1 with and the one without contrast agent were exchanged; channels as the network sees them."""
    if {"t1", "t1gd"} <= channels.keys() and enhancement(channels["t1"], channels["t1gd"], brain) < -ENHANCED:
        yield doubts.contrast_agent_exchanged()


def empty_reasons(inside: Mask) -> Iterator[str]:
    """Yield a doubt if no brain (T, H, W) was found, for tasks whose labels form the brain."""
    if not inside.any():
        yield doubts.no_brain()


def confidence_reasons(posterior: Map) -> Iterator[str]:
    """Yield a doubt if the network was uncertain of the classes (K, T, H, W) that it chose."""
    chosen = posterior[1:].max(axis=0)
    inside = posterior[0] < 0.5
    if inside.any() and (sure := float(chosen[inside].mean())) < UNSURE:
        yield doubts.uncertain_labels(sure)
