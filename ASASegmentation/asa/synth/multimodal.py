"""A brain as T1, T1 with contrast agent, T2 and FLAIR show it, from one structure map (domain randomisation).

The order of CSF, grey and white matter in each modality is that of clinical scans; where they lie is drawn at random,
for each scan. The appearance of lesions is defined relative to these three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from asa.seeds import chance, uniform
from asa.synth.intensity import acquire, smooth_field
from asa.synth.structures import IN_BRAIN, STRUCTURES

MODALITIES = ("t1", "t1gd", "t2", "flair")
T1, T1GD, T2, FLAIR = range(4)
CSF, GREY, WHITE = range(3)  # columns of the anchors
_NAMES = [s.name for s in STRUCTURES]
SULCAL, CHOROID, VESSEL, LESION = (
    _NAMES.index(n) for n in ("sulcal CSF", "choroid plexus", "vessel", "white-matter lesion")
)
_NUDGE = 0.03  # structures differ from their ideal intensity by this much more in each modality


@dataclass(frozen=True)
class Contrasts:
    """Mean intensity of each structure in each modality (4, structures), and the anchors CSF, GM, WM (4, 3)."""

    mean: Tensor
    anchors: Tensor


def draw_anchors(rng: Generator) -> Tensor:
    """CSF, grey and white matter in T1, T1Gd, T2 and FLAIR, (4, 3) in about [0, 1]."""
    grey = uniform(rng, 0.38, 0.6)
    t1 = [uniform(rng, 0.05, 0.25), grey, grey + uniform(rng, 0.08, 0.3)]
    change = uniform(rng, 0.9, 1.15)
    t1gd = [v * change + uniform(rng, -0.03, 0.03) for v in t1]
    white = uniform(rng, 0.22, 0.4)
    grey = white + uniform(rng, 0.05, 0.22)
    t2 = [grey + uniform(rng, 0.2, 0.5), grey, white]
    white = uniform(rng, 0.38, 0.6)
    flair = [uniform(rng, 0.02, 0.2), white + uniform(rng, -0.02, 0.2), white]
    return torch.tensor([t1, t1gd, t2, flair])


def draw_contrasts(rng: Generator) -> Contrasts:
    """Intensities of every structure; what lies outside the brain has any intensity."""
    anchors = draw_anchors(rng)
    mean = torch.rand(4, len(STRUCTURES), generator=rng)
    jitter = torch.randn(len(STRUCTURES), generator=rng)
    nudge = _NUDGE * torch.randn(4, len(STRUCTURES), generator=rng)
    csf, grey, white = anchors.unbind(1)
    for index, structure in enumerate(STRUCTURES):
        if structure.fraction is not None:
            f = structure.fraction + structure.spread * float(jitter[index])
            mean[:, index] = grey + (f * (white - grey) if f >= 0 else f * (grey - csf)) + nudge[:, index]
    mean[:, LESION] = mean[:, 1]  # a head that is painted as healthy, whatever its label map says
    mean[T1GD, CHOROID] = anchors[T1GD, WHITE] + uniform(rng, 0.1, 0.5)  # takes up contrast agent
    mean[FLAIR, CHOROID] = anchors[FLAIR, GREY] + uniform(rng, -0.15, 0.3)  # not nulled as the fluid around it is
    mean[T1GD, VESSEL] = anchors[T1GD, WHITE] + uniform(rng, 0.0, 0.5)
    mean[:, 0] = 0
    return Contrasts(mean.clamp_(0, 1.3), anchors)


def paint_brain(rng: Generator, structure: Tensor, contrasts: Contrasts) -> Tensor:
    """Structures (T, H, W) -> images (4, T, H, W), without noise, of the resolution of the map."""
    texture = smooth_field(rng, tuple(structure.shape), 12, 2)
    grain = torch.randn(structure.shape, generator=rng)
    images = contrasts.mean[:, structure]
    for number, image in enumerate(images):
        amount = uniform(rng, 0, 0.03)
        image += amount * texture[number % 2] + uniform(rng, 0, 0.03) * grain
    return images


def scan(rng: Generator, images: Tensor, brain: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """What scanners make of ideal images, as the network sees it: z-scored within ``brain``, 0 outside.

    Args:
        images: (C, T, H, W) ideal intensities.
        brain: (T, H, W) bool, as stripping left it.
        statistics: mean and SD (C,) each of the whole brain, of which ``images`` may be a crop.
    """
    shape = tuple(images.shape[1:])
    seen = []
    fields = smooth_field(rng, shape, 3, 2)
    for number, image in enumerate(images):
        noise = 0.07 * uniform(rng, 0.05, 1) ** 1.5
        image = acquire(rng, image, noise)
        image *= torch.exp(uniform(rng, 0, 0.15) * fields[number % 2])
        mean, spread = (float(s[number]) for s in statistics)
        spread = (spread**2 + noise**2) ** 0.5
        image = (image - mean) / spread * uniform(rng, 0.85, 1.18) + uniform(rng, -0.2, 0.2)
        if chance(rng, 0.3):  # a scanner's grey levels are not linear in the ideal ones
            image = image + uniform(rng, -0.08, 0.08) * image.square()
        seen.append(image.clamp_(-5, 5) * brain)
    return torch.stack(seen)


def brain_statistics(
    counts: Tensor, contrasts: Contrasts, lesion_voxels: Tensor, lesion_means: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the mean and SD of each modality (4,) over the stripped brain, from voxel counts.

    Args:
        counts: voxels of each structure in the whole head.
        lesion_voxels: (K,) voxels of each class of lesion, which took the place of white matter.
        lesion_means: (4, K) their intensities.
    """
    weight = torch.where(torch.from_numpy(IN_BRAIN), counts.double(), 0.0)
    weight[SULCAL] = 0.6 * float(counts[SULCAL])  # stripping takes part of it away
    weight[1] = (weight[1] - lesion_voxels.sum()).clamp(min=0.3 * float(weight[1]))
    weights = torch.cat((weight, lesion_voxels.double()))
    means = torch.cat((contrasts.mean, lesion_means), 1).double()
    total = weights.sum()
    mean = (means * weights).sum(1) / total
    variance = ((means - mean[:, None]) ** 2 * weights).sum(1) / total
    return mean, (variance + 0.03**2).sqrt()
