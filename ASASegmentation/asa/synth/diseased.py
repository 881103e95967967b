"""Heads with tumours or lesions: label map -> several modalities and the lesions' labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from asa.seeds import chance, generator, uniform
from asa.synth import lesions, tumour
from asa.synth.generator import PATCH, HeadGenerator, Sample, SynthSettings
from asa.synth.multimodal import (
    CSF,
    GREY,
    MODALITIES,
    WHITE,
    Contrasts,
    brain_statistics,
    draw_contrasts,
    paint_brain,
    scan,
)
from asa.synth.structures import CEREBRAL_WHITE, CORTEX, STRUCTURES, TARGETS
from asa.synth.structures import VENTRICLES as VENTRICLE_TARGET
from asa.synth.structures import WHITE as WHITE_TARGET

INFRATENTORIAL = 0.4  # share of heads whose brainstem and cerebellum may have lesions too, as in multiple sclerosis
CLEAN_VOXELS = 5  # a crop's voxel count stands for the head's by this factor where lesions are spread out
_TARGETS = torch.from_numpy(TARGETS.astype(np.int64))
_TISSUE = torch.tensor([s.target in (2, 3) for s in STRUCTURES])
# quantiles of the intensities in a stripped brain at which CSF, grey and white matter lie, by modality
_QUANTILES = {
    "t1": (0.04, 0.4, 0.85),
    "t1gd": (0.04, 0.4, 0.85),
    "t2": (0.97, 0.6, 0.25),
    "flair": (0.04, 0.65, 0.5),
}


class Painted(Protocol):
    """What a disease did: labels (T, H, W) uint8, and the intensities (4, K) of its K classes."""

    labels: Tensor
    table: Tensor


class Result:
    """See :class:`Painted`."""

    def __init__(self, labels: Tensor, table: Tensor) -> None:
        self.labels, self.table = labels, table


class Disease(Protocol):
    """Draws one disease; geometry first, because a mass moves the tissue that is painted later."""

    spread: float  # voxels of the whole head for each voxel of a crop

    def begin(self, rng: Generator, centre: Tensor, shape: tuple[int, ...]) -> tuple[object, Tensor | None]:
        """Its geometry, and the displacement (3, T, H, W) it causes or None."""

    def apply(self, rng: Generator, plan: object, images: Tensor, structure: Tensor, anchors: Tensor) -> Painted:
        """Draw over images (4, T, H, W), in place."""


class Tumours:
    """Tumours, in ``share`` of the heads; some of the heads have white-matter lesions, which are not labelled."""

    spread = 1.0

    def __init__(self, share: float = 0.7, lesion_share: float = 0.2) -> None:
        self.share, self.lesion_share = share, lesion_share

    def begin(self, rng: Generator, centre: Tensor, shape: tuple[int, ...]) -> tuple[object, Tensor | None]:
        """See :class:`Disease`."""
        mass = tumour.draw_mass(rng, centre)
        if not chance(rng, self.share):
            return None, None
        return mass, tumour.displacement(mass, shape) if mass.push else None

    def apply(self, rng: Generator, plan: object, images: Tensor, structure: Tensor, anchors: Tensor) -> Result:
        """See :class:`Disease`."""
        white = structure == CEREBRAL_WHITE
        if chance(rng, self.lesion_share):
            WhiteMatterLesions(0.005).apply(rng, None, images, structure, anchors)
        if not isinstance(plan, tumour.Mass):
            return Result(torch.zeros(structure.shape, dtype=torch.uint8), torch.zeros(4, 3))
        labels = tumour.grow(rng, plan, white.float(), _TISSUE[structure])
        table = tumour.appearance(rng, anchors, plan.kind)
        tumour.paint(rng, images, labels, table)
        return Result(labels, table)


class WhiteMatterLesions:
    """White-matter lesions; ``largest`` caps their share of white matter."""

    spread = float(CLEAN_VOXELS)

    def __init__(self, largest: float = 1.0) -> None:
        self.largest = largest

    def begin(self, rng: Generator, centre: Tensor, shape: tuple[int, ...]) -> tuple[object, Tensor | None]:
        """See :class:`Disease`."""
        return None, None

    def apply(self, rng: Generator, plan: object, images: Tensor, structure: Tensor, anchors: Tensor) -> Result:
        """See :class:`Disease`."""
        target = _TARGETS[structure]
        white, ventricles = target == WHITE_TARGET, target == VENTRICLE_TARGET
        lesions.paint_ependyma(rng, images, ventricles, white, anchors)
        if not chance(rng, INFRATENTORIAL):
            white = structure == CEREBRAL_WHITE
        share = min(self.largest, lesions.draw_share(rng))
        labels = lesions.grow_lesions(rng, white, ventricles, structure == CORTEX, share)
        table = lesions.lesion_appearance(rng, anchors)
        lesions.paint_lesions(rng, images, labels, table)
        return Result(labels, table)


class DiseasedHeads:
    """Draws crops of stripped multi-modal brains with a disease, as the network will see them.

    Args:
        heads: as for :class:`HeadGenerator`.
        frame: shape (T, H, W) of the brain frame, in voxels.
        crop: shape (T, H, W) of a crop, in voxels.
        disease: what is drawn.
        modalities: channels, of :data:`MODALITIES`.
        centred: crops lie in the middle of the frame along W.
    """

    def __init__(
        self,
        heads: npt.NDArray[np.uint8],
        frame: tuple[int, int, int],
        crop: tuple[int, int, int],
        disease: Disease,
        modalities: Sequence[str] = MODALITIES,
        settings: SynthSettings = SynthSettings(),  # noqa: B008 (frozen)
        *,
        centred: bool = False,
    ) -> None:
        self.maker = HeadGenerator(heads, frame, crop, settings)
        self.centred = centred
        self.disease, self.channels = disease, [MODALITIES.index(m) for m in modalities]
        margin = [(have - want) // 2 for have, want in zip(heads.shape[1:], frame, strict=True)]
        self.margin = torch.tensor(margin)
        self.places = [self.tissue(head) for head in heads]

    def tissue(self, head: npt.NDArray[np.uint8]) -> Tensor:
        """Some voxels (N, 3) of brain tissue, in the frame."""
        small = head[::3, ::3, ::3]
        return 3 * torch.from_numpy(np.argwhere(_TISSUE.numpy()[small])) - self.margin

    def sample(self, seed: int) -> Sample:
        """Return images (C, T, H, W), labels and origin of the crop that belongs to ``seed``."""
        rng = generator(seed)
        maker = self.maker
        number = int(torch.randint(len(maker.heads), (), generator=rng))
        places = self.places[number]
        middle = places[int(torch.randint(len(places), (), generator=rng))]
        corner = self.corner(rng, middle)
        plan, push = self.disease.begin(rng, middle - torch.tensor(corner).float(), maker.crop)
        structure = maker.deform(rng, maker.heads[number], corner, push)
        contrasts = draw_contrasts(rng)
        images = paint_brain(rng, structure, contrasts)
        painted = self.disease.apply(rng, plan, images, structure, contrasts.anchors)
        brain = maker.strip(rng, maker.in_brain[structure].float()).bool()
        statistics = self.statistics(maker.counts[number], contrasts, painted)
        seen = scan(rng, images[self.channels], brain, (statistics[0][self.channels], statistics[1][self.channels]))
        labels = (painted.labels * brain).long()
        if chance(rng, 0.5):
            seen, labels = seen.flip(-1), labels.flip(-1)
            corner[2] = maker.frame[2] - maker.crop[2] - corner[2]
        origin = (corner[0] // PATCH, corner[1] // PATCH, corner[2] // PATCH)
        return Sample(seen.contiguous(), labels.contiguous(), origin)

    def corner(self, rng: Generator, middle: Tensor) -> list[int]:
        """First voxel, a multiple of the patch, of a crop that holds ``middle``, not always in its middle."""
        corner = []
        for place, size, whole in zip(middle.tolist(), self.maker.crop, self.maker.frame, strict=True):
            start = place - size / 2 + uniform(rng, -0.35, 0.35) * size
            corner.append(PATCH * round(min(max(start, 0.0), whole - size) / PATCH))
        if self.centred:
            corner[2] = (self.maker.frame[2] - self.maker.crop[2]) // 2 // PATCH * PATCH
        return corner

    def statistics(self, counts: Tensor, contrasts: Contrasts, painted: Painted) -> tuple[Tensor, Tensor]:
        """Return the mean and SD (4,) of the whole brain, the disease included."""
        classes = painted.table.shape[1]
        voxels = torch.bincount(painted.labels.flatten().long(), minlength=classes + 1)[1 : classes + 1]
        return brain_statistics(counts, contrasts, voxels * self.disease.spread, painted.table)


def scan_anchors(image: Tensor, modalities: Sequence[str]) -> Tensor:
    """Where CSF, grey and white matter lie in a real scan (C, T, H, W) of a stripped brain, 0 outside: (4, 3).

    By quantiles: good to about a tenth of the contrast, which is less than what is drawn at random. Modalities that
    are missing get zeros.
    """
    anchors = torch.zeros(4, 3)
    for channel, name in zip(image, modalities, strict=True):
        inside = channel[channel != 0]
        if inside.numel() > 100:
            levels = torch.tensor(_QUANTILES[name])
            anchors[MODALITIES.index(name)] = torch.quantile(inside[:: max(1, inside.numel() // 20_000)], levels)
    return anchors


def vary_contrast(rng: Generator, image: Tensor, modalities: Sequence[str]) -> Tensor:
    """Draw a new FLAIR contrast of grey and white matter for a real, z-scored crop (C, T, H, W): 0 to 1 SD.

    A share of T1, which tells the two apart, is added to FLAIR; white matter stays where it is. Scanners differ in this
    more than the few patients of one site show. Without T1 and FLAIR, or enough of both tissues, nothing changes.
    """
    wanted = uniform(rng, 0.0, 1.0)
    if not {"t1", "flair"} <= set(modalities):
        return image
    at = list(modalities).index("flair")
    t1, flair = image[list(modalities).index("t1")], image[at]
    inside = (t1 != 0) & (flair != 0)
    white, grey = inside & (t1 > 0.7), inside & (t1.abs() < 0.25)  # of a T1 that is z-scored within the brain
    if min(int(white.sum()), int(grey.sum())) < CLEAN_VOXELS * 100:
        return image
    middle = t1[white].median()
    slope = (wanted - float(flair[grey].median() - flair[white].median())) / float(middle - t1[grey].median())
    image = image.clone()
    image[at] += slope * (middle - t1.clamp(min=-0.5)) * inside  # CSF no more than grey
    return image


def implant_tumour(rng: Generator, image: Tensor, labels: Tensor, modalities: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Grow a synthetic tumour in a real, stripped, z-scored crop, in addition to its own; T1 defines the tissue.

    Args:
        image: (C, T, H, W) with T1 among its channels.
        labels: (T, H, W) values of the task.

    Returns:
        New image and labels; where the crop has too little healthy tissue, what was given.
    """
    anchors = scan_anchors(image, modalities)
    t1 = image[list(modalities).index("t1")]
    csf, grey, white = anchors[0, CSF], anchors[0, GREY], anchors[0, WHITE]
    tissue = (t1 != 0) & (t1 > 0.5 * (csf + grey)) & (labels == 0)
    places = torch.nonzero(tissue[::4, ::4, ::4]) * 4
    if len(places) < 50:
        return image, labels
    mass = tumour.draw_mass(rng, places[int(torch.randint(len(places), (), generator=rng))].float())
    whiteness = ((t1 - grey) / (white - grey).clamp(min=1e-3)).clamp(0, 1) * tissue
    grown = tumour.grow(rng, mass, whiteness, tissue)
    full = torch.zeros(4, *labels.shape)
    channels = [MODALITIES.index(m) for m in modalities]
    full[channels] = image
    tumour.paint(rng, full, grown, tumour.appearance(rng, anchors, mass.kind))
    return full[channels].clamp(-5, 5) * (image != 0), torch.where(grown > 0, grown, labels)


def implant_lesions(rng: Generator, image: Tensor, labels: Tensor, modalities: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Add white-matter lesions to a real, stripped, z-scored crop; T1 says where white matter and ventricles are.

    Arguments and result as for :func:`implant_tumour`.
    """
    anchors = scan_anchors(image, modalities)
    t1 = image[list(modalities).index("t1")]
    csf, grey, white = (float(anchors[0, tissue]) for tissue in (CSF, GREY, WHITE))
    inside = t1 != 0
    fluid = inside & (t1 < 0.5 * (csf + grey))
    matter = inside & (t1 > 0.5 * (grey + white)) & (labels == 0)
    if int(matter.sum()) < CLEAN_VOXELS * 100:
        return image, labels
    thick = torch.nn.functional.avg_pool3d(fluid.float()[None, None], 5, 1, 2)[0, 0] > 0.8  # sulci are thin
    ventricles = fluid & lesions.near(thick, 3).gt(0.2)
    grown = lesions.grow_lesions(rng, matter, ventricles, inside & ~fluid & ~matter, lesions.draw_share(rng))
    full = torch.zeros(4, *labels.shape)
    channels = [MODALITIES.index(m) for m in modalities]
    full[channels] = image
    if chance(rng, 0.5):
        lesions.paint_ependyma(rng, full, ventricles, matter, anchors)
    if chance(rng, 0.5):
        lesions.paint_plexus(rng, full, ventricles, anchors)
    lesions.paint_lesions(rng, full, grown, lesions.lesion_appearance(rng, anchors))
    return full[channels].clamp(-5, 5) * (image != 0), torch.where(grown > 0, grown, labels)
