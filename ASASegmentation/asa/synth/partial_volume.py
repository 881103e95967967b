"""Synthetic heads with partial volume: intensities and targets are mixtures of tissues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Generator, Tensor

from asa.errors import InputError
from asa.files import atomic_path
from asa.geometry import FRAME, align_to_frame, resample
from asa.nn.position import Grid3
from asa.seeds import chance, generator, uniform
from asa.synth.generator import PATCH, HeadGenerator, Sample, SynthSettings, look_up
from asa.synth.heads import margin_grid, plain_t1
from asa.synth.intensity import draw_contrast, smooth_field
from asa.synth.structures import GREY, STRUCTURES, WHITE, to_structures
from asa.volume import Grid, Volume, read_volume

FINE = 2  # voxels of a fine head along a millimetre
SMOOTHING = 0.6  # mm; label maps have the staircases of their own voxels, brains do not
# Four corners of a cube within a voxel, in voxels: a quarter away from its middle along every axis
INSIDE = ((0.25, 0.25, 0.25), (0.25, -0.25, -0.25), (-0.25, 0.25, -0.25), (-0.25, -0.25, 0.25))
CLASSES = 5


def fine_grid() -> Grid:
    """Return the frame and its margin in voxels of half a millimetre."""
    coarse = margin_grid()
    affine = coarse.affine.copy()
    affine[:3, :3] /= FINE
    affine[:3, 3] = coarse.to_world([(1 / FINE - 1) / 2] * 3)
    t, h, w = (FINE * n for n in coarse.shape)
    return Grid((t, h, w), affine)


def fine_structures(labels: Volume, grid: Grid) -> npt.NDArray[np.uint8]:
    """Structures of a label map on ``grid`` of a brain frame with smooth borders: (T, H, W).

    The largest of the smoothed indicators of the brain's structures decides; beside what lies outside the brain, which
    keeps its own borders, one of more than a half. Aligned to the frame by what T1 would show.
    """
    structures = labels.with_array(to_structures(labels.array))
    matrix = align_to_frame(structures.with_array(plain_t1(structures.array)), stripped=True).matrix
    outside = np.array([one.fraction is None for one in STRUCTURES])
    beyond = structures.with_array(np.where(outside[structures.array], structures.array, 0).astype(np.uint8))
    found = resample(beyond, grid, 0, matrix).array  # whose borders are not learned
    best = np.where(found > 0, np.float32(0.5), np.float32(0.05))
    sigma = [SMOOTHING / mm for mm in labels.spacing]
    for number, box in enumerate(ndimage.find_objects(structures.array), start=1):
        if box is None or outside[number]:
            continue
        wide = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        soft = ndimage.gaussian_filter((structures.array[wide] == number).astype(np.float32), sigma, truncate=3)
        affine = labels.grid.affine.copy()
        affine[:3, 3] = labels.grid.to_world([s.start for s in wide])
        part = Volume(soft, Grid((soft.shape[0], soft.shape[1], soft.shape[2]), affine))
        share = resample(part, grid, 1, matrix).array
        higher = share > best
        found[higher] = number
        best[higher] = share[higher]
    return found


def prepare_fine_heads(
    label_maps: Sequence[Path], folder: Path, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> list[Path]:
    """Fine structures of each label map as ``folder/<name>.npy``; those that are there already are kept.

    Raises:
        InputError: no label maps, or one that cannot be read.
        OutputError: no room or no permission.
    """
    if not label_maps:
        raise InputError("No label maps (*.nii.gz) found for training. Choose a folder that contains label maps.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, path in enumerate(label_maps, start=1):
        store = folder / f"{path.name.removesuffix('.nii.gz')}.npy"
        if not store.exists():
            fine = fine_structures(read_volume(path, labels=True), fine_grid())
            with atomic_path(store) as temporary:
                np.save(temporary, fine)
        paths.append(store)
        progress(number, len(label_maps))
    return paths


class PartialVolumeHeads(HeadGenerator):
    """Draws crops of synthetic scans whose voxels average four points of a fine head.

    A target is (5, T, H, W): the share of background, ventricular CSF, grey matter, white matter and sulcal CSF in
    each voxel. In some heads the right half comes from another subject.

    Args:
        heads: fine structures (T, H, W) uint8, as :func:`prepare_fine_heads` writes them.
        crop: shape (T, H, W) of a crop in mm, multiples of 8; it lies in the middle along W where ``centred``.
        settings: ranges of the randomisation.
        swapped_share: share of heads with halves of two subjects.
    """

    def __init__(
        self,
        heads: Sequence[npt.NDArray[np.uint8]],
        crop: Grid3,
        settings: SynthSettings,
        *,
        centred: bool = True,
        swapped_share: float = 0.1,
    ) -> None:
        self.fine = heads
        coarse = np.stack([head[::FINE, ::FINE, ::FINE] for head in heads])
        super().__init__(coarse, FRAME.shape, crop, settings)
        self.centred, self.swapped_share = centred, swapped_share

    def sample(self, *seed: int) -> Sample:
        """Return the crop that belongs to ``seed``."""
        rng = generator(*seed)
        head, other = (int(torch.randint(len(self.fine), (), generator=rng)) for _ in range(2))
        free = [f - c for f, c in zip(self.frame, self.crop, strict=True)]
        corner = [PATCH * round(max(0.0, min(1.0, uniform(rng, -0.15, 1.15))) * n / PATCH) for n in free]
        if self.centred:
            corner[2] = free[2] // 2 // PATCH * PATCH
        swapped = chance(rng, self.swapped_share)
        shares = self.shares(rng, self.fine[head], self.fine[other] if swapped else None, corner)
        image, target = self.mixed(rng, shares, self.counts[head])
        if chance(rng, 0.5):
            image, target = image.flip(-1), target.flip(-1)
            corner[2] = free[2] - corner[2]
        origin = (corner[0] // PATCH, corner[1] // PATCH, corner[2] // PATCH)
        return Sample(image.contiguous(), target.contiguous(), origin)

    def shares(
        self, rng: Generator, head: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8] | None, corner: list[int]
    ) -> Tensor:
        """Structures (4, T, H, W) at four points of each voxel; ``right`` replaces the right half of the head."""
        places, step = self.positions(rng, tuple(n // FINE for n in head.shape), corner)
        found = []
        for offset in INSIDE:
            moved = step @ torch.tensor(offset)
            fine = [(place + float(by) + 0.5) * FINE - 0.5 for place, by in zip(places, moved, strict=True)]
            seen = look_up(head, fine)
            if right is not None:
                middle = (head.shape[2] - 1) / 2
                seen = torch.where(fine[2] > middle, look_up(right, fine), seen)
            found.append(seen)
        return torch.stack(found)

    def mixed(self, rng: Generator, structures: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Random scanner over structures at several points of each voxel: image (T, H, W) and target (5, T, H, W)."""
        s = self.settings
        contrast = draw_contrast(rng, s.t1_share)
        noise = s.noise * uniform(rng, 0.05, 1) ** 1.5
        classes = self.targets[structures]
        target = torch.stack([(classes == value).float().mean(0) for value in range(CLASSES)])
        image = contrast.mean[structures].mean(0)
        for tissue in (GREY, WHITE):
            local = 0.05 * uniform(rng, 0, 1) * smooth_field(rng, self.crop, 5)[0]
            image.addcmul_(target[tissue], local)
        image.addcmul_(contrast.spread[structures[0]], torch.randn(image.shape, generator=rng))
        keep = None
        if chance(rng, s.stripped_share):
            keep = self.strip(rng, self.in_brain[structures].float().mean(0))
            target *= keep
            target[0] += ~keep
        return self.scanned(rng, image, counts, contrast, keep, noise), target
