"""White-matter lesions: bright in FLAIR, dark in T1, around the ventricles, deep, and below the cortex."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from asa.seeds import uniform
from asa.synth.intensity import gaussian_blur, smooth_field
from asa.synth.multimodal import CSF, FLAIR, GREY, T1, T1GD, T2, WHITE

LESION = 1  # value of the task
SMALLEST_SHARE = 2e-5  # of a crop's white matter


def near(mask: Tensor, reach: float) -> Tensor:
    """(T, H, W) in [0, 1]: 1 at ``mask``, falling off over about ``reach`` voxels; coarse inside, hence cheap."""
    small = torch.nn.functional.avg_pool3d(mask.float()[None, None], 2)
    soft = gaussian_blur(small[0, 0], (reach / 2, reach / 2, reach / 2))
    wide = torch.nn.functional.interpolate(soft[None, None], size=mask.shape, mode="trilinear", align_corners=False)
    return (2 * wide[0, 0]).clamp_(0, 1)


def grow_lesions(rng: Generator, white: Tensor, ventricles: Tensor, cortex: Tensor, share: float) -> Tensor:
    """Return labels (T, H, W) uint8, 1 in lesions.

    Blobs are where random fields of two grains, raised near the ventricles or below the cortex, exceed the level that
    leaves ``share`` of the white matter.

    Args:
        white: white matter, (T, H, W) bool.
        ventricles: (T, H, W) bool.
        cortex: (T, H, W) bool.
        share: lesions' share of white matter, 0 to 1.
    """
    labels = torch.zeros(white.shape, dtype=torch.uint8)
    count = int(white.sum())
    wanted = round(share * count)
    if wanted < max(4, SMALLEST_SHARE * count):
        return labels
    grain = torch.randn(white.shape, generator=rng)
    sigma = math.exp(uniform(rng, math.log(1.2), math.log(7.0)))  # from dots to one round plaque
    fine = gaussian_blur(grain, (sigma, sigma, sigma))
    score = fine / fine.std()
    knots = max(2, round(white.shape[0] / uniform(rng, 5, 20)))
    score = score * uniform(rng, 0.5, 1.0) + smooth_field(rng, tuple(white.shape), knots)[0] * uniform(rng, 0.0, 0.9)
    score += near(ventricles, uniform(rng, 3, 8)) * 4 * uniform(rng, 0.0, 1.0) ** 2
    score -= near(cortex, 2.5) * uniform(rng, -0.6, 2.5)
    score[~white] = -1e4
    level = torch.topk(score[white], wanted).values[-1]
    labels[score >= level] = LESION
    return labels


def draw_share(rng: Generator) -> float:
    """Share of white matter that is lesion: none in one scan of ten, 4 to 20 % in three, 0.2 to 5 % in six."""
    light, heavy = math.exp(uniform(rng, math.log(2e-3), math.log(0.05))), uniform(rng, 0.04, 0.2)
    place = uniform(rng, 0, 1)
    return 0.0 if place < 0.1 else heavy if place < 0.4 else light


def lesion_appearance(rng: Generator, anchors: Tensor) -> Tensor:
    """Intensity of lesions in T1, T1Gd, T2 and FLAIR, (4, 1), given CSF, GM and WM (4, 3)."""
    table = torch.empty(4, 1)
    for modality, low, high in ((T1, 0.1, 0.7), (T2, 0.2, 0.8)):
        a, b = float(anchors[modality, WHITE]), float(anchors[modality, CSF])
        table[modality, 0] = a + uniform(rng, low, high) * (b - a)
    table[T1GD, 0] = table[T1, 0] + float(anchors[T1GD, WHITE] - anchors[T1, WHITE])
    brain = float(anchors[FLAIR, GREY:].max())
    # often little brighter than grey matter
    table[FLAIR, 0] = brain + (brain - float(anchors[FLAIR, CSF])) * uniform(rng, 0.1, 0.75) ** 1.5
    return table


def paint_lesions(rng: Generator, images: Tensor, labels: Tensor, table: Tensor) -> None:
    """Draw lesions over images (4, T, H, W), in place, with soft borders; no lesion is as strong as another."""
    softness = uniform(rng, 0.3, 0.9)
    cover = gaussian_blur((labels == LESION).float(), (softness, softness, softness))
    strength = (1 + 0.25 * smooth_field(rng, tuple(labels.shape), 10)[0]).clamp_(0.4, 1.4)
    cover = (cover * strength).clamp_(0, 1.3)
    for image, row in zip(images, table, strict=True):
        image.add_(cover * (row[0] - image))


def paint_ependyma(rng: Generator, images: Tensor, ventricles: Tensor, white: Tensor, anchors: Tensor) -> None:
    """The bright lining and caps of the ventricles that FLAIR shows in healthy people; not a lesion."""
    caps = (1 + smooth_field(rng, tuple(white.shape), 6)[0]).clamp_(0, 2)
    line = near(ventricles, uniform(rng, 0.8, 2.5)) * white * caps
    lift = uniform(rng, 0.0, 0.4) * float(anchors[FLAIR, GREY] - anchors[FLAIR, CSF])
    images[FLAIR] += lift * line


def paint_plexus(rng: Generator, images: Tensor, ventricles: Tensor, anchors: Tensor) -> None:
    """Choroid plexus within the ventricles of (4, T, H, W), bright in FLAIR and no lesion; where, chance decides."""
    wanted = round(uniform(rng, 0.03, 0.25) * int(ventricles.sum()))
    if wanted < 4:
        return
    score = smooth_field(rng, tuple(ventricles.shape), max(4, ventricles.shape[0] // 5))[0]
    plexus = ventricles & (score >= torch.topk(score[ventricles], wanted).values[-1])
    cover = gaussian_blur(plexus.float(), (0.6, 0.6, 0.6)) * ventricles
    for modality, low, high in ((T1, 0.2, 0.8), (FLAIR, 0.8, 1.5)):
        fluid, grey = float(anchors[modality, CSF]), float(anchors[modality, GREY])
        images[modality] += cover * (fluid + uniform(rng, low, high) * (grey - fluid) - images[modality])
