"""Synthesise images from label maps: endless training pairs from a few labelled heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from asa.nn.position import Grid3
from asa.seeds import chance, generator, uniform
from asa.synth.intensity import (
    Contrast,
    acquire,
    draw_contrast,
    foreground_scale,
    gaussian_blur,
    smooth_field,
)
from asa.synth.structures import GREY, IN_BRAIN, TARGETS, WHITE

PATCH = 8


class Sample(NamedTuple):
    """One training pair: image (T, H, W) z-scored float32, target (T, H, W) int64, crop origin in patches."""

    image: Tensor
    target: Tensor
    origin: Grid3


@dataclass(frozen=True)
class SynthSettings:
    """How far the generator goes; lengths in millimetres (= voxels of the brain frame), angles in degrees."""

    t1_share: float = 0.75
    stripped_share: float = 0.6
    rotation: float = 12.0
    scaling: float = 0.12
    shear: float = 0.06
    translation: float = 8.0
    warp: float = 3.0
    bias: float = 0.25
    noise: float = 0.06


def random_affine(rng: Generator, s: SynthSettings) -> Tensor:
    """3x4 matrix that maps frame voxels, relative to the centre, to source voxels."""
    angles = [math.radians(s.rotation) * float(torch.randn((), generator=rng).clamp(-2, 2)) / 2 for _ in range(3)]
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        c, n = math.cos(angle), math.sin(angle)
        turn = torch.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -n, n
        matrix = matrix @ turn
    scale = torch.tensor([uniform(rng, 1 - s.scaling, 1 + s.scaling) for _ in range(3)])
    shear = torch.eye(3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        shear[i, j] = uniform(rng, -s.shear, s.shear)
    shift = torch.tensor([uniform(rng, -s.translation, s.translation) for _ in range(3)])
    return torch.cat((matrix @ shear @ torch.diag(scale), shift[:, None]), dim=1)


class HeadGenerator:
    """Draws crops of synthetic scans.

    Args:
        heads: structure maps (N, T, H, W) uint8 in the brain frame with ``margin`` voxels more on every side.
        frame: shape (T, H, W) of the brain frame in voxels.
        crop: shape (T, H, W) of a crop, multiples of 8.
        settings: ranges of the randomisation.
    """

    def __init__(
        self,
        heads: npt.NDArray[np.uint8],
        frame: tuple[int, int, int],
        crop: tuple[int, int, int],
        settings: SynthSettings,
    ) -> None:
        self.heads, self.frame, self.crop, self.settings = heads, frame, crop, settings
        structures = len(TARGETS)
        self.counts = [torch.from_numpy(np.bincount(h.ravel(), minlength=structures)) for h in heads]
        self.targets = torch.from_numpy(TARGETS.astype(np.int64))
        self.in_brain = torch.from_numpy(IN_BRAIN)

    def sample(self, *seed: int) -> Sample:
        """The crop that belongs to ``seed``: the same numbers give the same crop on every machine and process."""
        rng = generator(*seed)
        head = int(torch.randint(len(self.heads), (), generator=rng))
        free = [f - c for f, c in zip(self.frame, self.crop, strict=True)]
        # draw the crop's corner so that the frame's border is seen as often as its middle
        corner = [PATCH * round(max(0.0, min(1.0, uniform(rng, -0.15, 1.15))) * n / PATCH) for n in free]
        structure = self.deform(rng, self.heads[head], corner)
        image, target = self.paint(rng, structure, self.counts[head])
        if chance(rng, 0.5):
            image, target = image.flip(-1), target.flip(-1)
            corner[2] = free[2] - corner[2]
        origin = (corner[0] // PATCH, corner[1] // PATCH, corner[2] // PATCH)
        return Sample(image.contiguous(), target.contiguous(), origin)

    def deform(
        self, rng: Generator, head: npt.NDArray[np.uint8], corner: list[int], push: Tensor | None = None
    ) -> Tensor:
        """Return the affine and smooth random warp of one crop: structures (T, H, W) int64.

        ``push``: (3, T, H, W) voxels by which a mass has displaced the tissue that is now there.
        """
        return look_up(head, self.positions(rng, head.shape, corner, push)[0])

    def positions(
        self, rng: Generator, shape: tuple[int, ...], corner: list[int], push: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Where each voxel of a deformed crop lies in a head of ``shape``, and how a step of a voxel moves that place.

        Returns:
            t, h and w in voxels of the head, (T, H, W) each, and the 3x3 of the affine part.
        """
        s = self.settings
        matrix = random_affine(rng, s)
        fields = smooth_field(rng, self.crop, 4, 3) * s.warp * uniform(rng, 0, 1)
        fields += smooth_field(rng, self.crop, 9, 3) * 0.5 * s.warp * uniform(rng, 0, 1)
        if push is not None:
            fields -= push
        axes = [
            torch.arange(n, dtype=torch.float32) + c - (f - 1) / 2
            for n, c, f in zip(self.crop, corner, self.frame, strict=True)
        ]
        places = []
        for row, size in enumerate(shape):
            t, h, w = (axis * matrix[row, i] for i, axis in enumerate(axes))
            places.append(fields[row] + (t[:, None, None] + h[:, None] + w + (matrix[row, 3] + (size - 1) / 2)))
        return places, matrix[:, :3]

    def paint(self, rng: Generator, structure: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Random scanner over a structure map: image z-scored as a whole head would be, and its target."""
        s = self.settings
        contrast = draw_contrast(rng, s.t1_share)
        noise = s.noise * uniform(rng, 0.05, 1) ** 1.5
        target = self.targets[structure]
        image = contrast.mean[structure]
        # cortex and white matter are not of one intensity over the whole brain
        for tissue in (GREY, WHITE):
            local = 0.05 * uniform(rng, 0, 1) * smooth_field(rng, self.crop, 5)[0]
            image.addcmul_((target == tissue).to(image.dtype), local)
        image.addcmul_(contrast.spread[structure], torch.randn(image.shape, generator=rng))
        stripped = chance(rng, s.stripped_share)
        keep = self.strip(rng, self.in_brain[structure].float()) if stripped else None
        image = self.scanned(rng, image, counts, contrast, keep, noise)
        return image, target if keep is None else target * keep

    def scanned(
        self, rng: Generator, image: Tensor, counts: Tensor, contrast: Contrast, keep: Tensor | None, noise: float
    ) -> Tensor:
        """An ideal image (T, H, W) as a scanner shows it, z-scored as the whole head would be; 0 where not ``keep``."""
        s = self.settings
        image = acquire(rng, image, noise)
        image *= torch.exp(s.bias * uniform(rng, 0, 1) * smooth_field(rng, self.crop, 3)[0])
        if keep is not None:
            image *= keep
        centre, spread = foreground_scale(counts, contrast, keep is not None, noise)
        gamma = math.exp(uniform(rng, -0.35, 0.35))
        image = image.clamp_(0, 3)
        if gamma != 1:
            image, centre, spread = _gamma(image, gamma, centre, spread)
        image = ((image - centre) / spread).clamp_(-5, 5)
        return image * uniform(rng, 0.85, 1.18) + uniform(rng, -0.2, 0.2)

    def strip(self, rng: Generator, brain: Tensor) -> Tensor:
        """A mask as skull-stripping tools leave it of a brain (T, H, W), 0 to 1: sometimes tight, sometimes with CSF
        and scraps."""
        coarse = F.avg_pool3d(brain[None, None], 2)
        sigma = uniform(rng, 0.7, 2.5)
        soft = gaussian_blur(coarse[0, 0], (sigma, sigma, sigma))
        soft = F.interpolate(soft[None, None], size=self.crop, mode="trilinear", align_corners=False)[0, 0]
        soft += 0.1 * smooth_field(rng, self.crop, 6)[0]
        mask = soft > uniform(rng, 0.12, 0.55)
        return mask | (brain > 0) if chance(rng, 0.7) else mask


def look_up(head: npt.NDArray[np.uint8], places: list[Tensor]) -> Tensor:
    """Structure of a head (T, H, W) nearest to each place, int64; 0 beyond it."""
    index: Tensor | None = None
    inside: Tensor | None = None
    for place, size in zip(places, head.shape, strict=True):
        position = place.round().to(torch.int32)
        valid = (position >= 0) & (position < size)
        position.clamp_(0, size - 1)
        index = position if index is None else index * size + position
        inside = valid if inside is None else inside & valid
    assert index is not None and inside is not None
    source = torch.from_numpy(np.array(head)).view(-1)
    return torch.where(inside, source[index.view(-1)].view(index.shape).long(), 0)


def _gamma(image: Tensor, gamma: float, centre: float, spread: float) -> tuple[Tensor, float, float]:
    """Gamma curve with a fixed point at 1, and the first-order change of the foreground's mean and SD."""
    slope = gamma * max(centre, 1e-3) ** (gamma - 1)
    return image.pow(gamma), max(centre, 1e-3) ** gamma, max(spread * slope, 1e-3)
