"""Transplant real lesions of one patient into the brain of another, with realistic shapes and textures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from asa.data.augment import AugmentSettings, Shape, cut, draw_flips, draw_matrix
from asa.seeds import uniform
from asa.synth.intensity import gaussian_blur

MARGIN = 8  # voxels around the donor's disease that are taken along: mass effect and blurred borders lie there
LARGEST = 112  # voxels along an axis; more than any lesion that is worth moving
MOVED = AugmentSettings(rotation_deg=40, rotation_p=1.0, scale=(0.6, 1.3), scale_p=1.0, flip="w")


def donor_part(
    rng: Generator, image: npt.NDArray[np.float16], labels: npt.NDArray[np.uint8], places: npt.NDArray[np.int16]
) -> tuple[Tensor, Tensor]:
    """Return the disease of a stored case with its surroundings, turned, scaled and mirrored at random.

    Args:
        image: (C, T, H, W) of the whole frame.
        labels: (T, H, W) of the whole frame.
        places: label, t, h, w of some of its labelled voxels, (N, 4).

    Returns:
        Image (C, t, h, w) and labels (t, h, w).
    """
    low, high = places[:, 1:].min(0).astype(int) - MARGIN, places[:, 1:].max(0).astype(int) + MARGIN + 1
    sides = np.minimum(high - low, LARGEST)
    start = np.clip((low + high - sides) // 2, 0, np.asarray(labels.shape) - sides)
    first: Shape = (int(start[0]), int(start[1]), int(start[2]))
    size: Shape = (int(sides[0]), int(sides[1]), int(sides[2]))
    return cut(image, labels, first, size, draw_matrix(rng, MOVED), draw_flips(rng, MOVED.flip))


def transplant(rng: Generator, image: Tensor, labels: Tensor, donor: Tensor, disease: Tensor) -> tuple[Tensor, Tensor]:
    """Blend a donor's disease into a z-scored crop whose background is 0, at a random place of its healthy brain.

    Args:
        image: (C, T, H, W); it stays as it is where the donor's disease does not reach.
        labels: (T, H, W) of the image.
        donor: (C, t, h, w), a part of another image with the same channels.
        disease: (t, h, w), labels of that part.

    Returns:
        New image and labels; the input unchanged if there is no healthy brain or no disease.
    """
    brain = (image != 0).any(0)
    free = torch.nonzero((brain & (labels == 0))[::4, ::4, ::4]) * 4
    sick = torch.nonzero(disease)
    if len(free) < 50 or not len(sick):
        return image, labels
    middle = free[int(torch.randint(len(free), (), generator=rng))]
    corner = middle - sick.float().mean(0).round().long()
    here, there = [], []
    for at, size, whole in zip(corner.tolist(), disease.shape, labels.shape, strict=True):
        first, last = max(at, 0), min(at + size, whole)
        if last <= first:
            return image, labels
        here.append(slice(first, last))
        there.append(slice(first - at, last - at))
    box, part = tuple(here), tuple(there)
    sigma = uniform(rng, 0.7, 2.0)
    soft = gaussian_blur((disease > 0).float(), (sigma, sigma, sigma)).mul_(2).clamp_(max=1)[part]
    soft = soft * brain[box] * (donor != 0).any(0)[(*part,)]
    image, labels = image.clone(), labels.clone()
    region = image[(slice(None), *box)]
    given = (image.flatten(1) != 0).any(1).view(-1, 1, 1, 1)  # a modality that the patient lacks stays away
    region += soft * (donor[(slice(None), *part)] - region) * given
    taken = disease[part]
    labels[box] = torch.where((taken > 0) & brain[box], taken.to(labels.dtype), labels[box])
    return image, labels
