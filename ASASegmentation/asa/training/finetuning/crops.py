"""Augmented crops of labelled cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from asa.data.augment import (
    AugmentSettings,
    cut,
    draw_flips,
    draw_matrix,
    drop_modalities,
    intensities,
    mirrored_start,
)
from asa.data.case_store import CaseStore
from asa.nn.objective import Batch
from asa.nn.position import Grid3, place_in_frame
from asa.seeds import chance, generator, sample_seed
from asa.training.finetuning.whole_volume import PATCH


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        crop: voxels of a crop.
        foreground: share of crops centred on a labelled voxel.
        seed: of every sample.
        modality_dropout: probability of each modality to be missing.
    """

    crop: Grid3
    foreground: float
    augment: AugmentSettings
    seed: int
    modality_dropout: float = 0.0


class LabelledCrops:
    """Training source: sample ``index`` is always the same augmented crop.

    Args:
        store: prepared cases.
        numbers: which of them.
        frame: patch grid that the network's position codes know.
    """

    def __init__(self, store: CaseStore, numbers: Sequence[int], frame: Grid3, settings: CropSettings) -> None:
        self.store, self.numbers, self.frame, self.settings = store, list(numbers), frame, settings

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return images (B, C, T, H, W), targets (B, T, H, W), origins in patches, and the cases' names."""
        drawn = [self.sample(index) for index in indices]
        return {
            "image": torch.stack([image for image, _, _, _ in drawn]),
            "target": torch.stack([labels for _, labels, _, _ in drawn]),
            "origins": [origin for _, _, origin, _ in drawn],
            "names": [name for _, _, _, name in drawn],
        }

    def sample(self, index: int) -> tuple[Tensor, Tensor, Grid3, str]:
        """Return the image (C, T, H, W), labels (T, H, W), origin, and the case's name."""
        s = self.settings
        rng = generator(sample_seed(s.seed, index))
        number = self.numbers[int(torch.randint(len(self.numbers), (), generator=rng))]
        image, labels = self.store.read(number)
        start = self.start(rng, number)
        matrix, flips = draw_matrix(rng, s.augment), draw_flips(rng, s.augment.flip)
        part, target = cut(image, labels, start, s.crop, matrix, flips)
        start = mirrored_start(start, s.crop, self.store.shape, flips)
        part, target = self.alter(rng, part, target)
        origin = place_in_frame(start, s.crop, self.store.shape, self.frame)
        return part.contiguous(), target.contiguous(), origin, self.store.cases[number].name

    def alter(self, rng: Generator, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply changes that move nothing: intensities, missing modalities."""
        image = intensities(rng, image, self.settings.augment)
        if self.settings.modality_dropout:
            image = drop_modalities(rng, image, self.settings.modality_dropout)
        return image, labels

    def start(self, rng: Generator, number: int) -> Grid3:
        """First voxel of a crop, a multiple of the patch: anywhere, or around a voxel of a label drawn at random."""
        free = [n - c for n, c in zip(self.store.shape, self.settings.crop, strict=True)]
        drawn = [PATCH * int(torch.randint(n // PATCH + 1, (), generator=rng)) for n in free]
        wanted, which = chance(rng, self.settings.foreground), float(torch.rand((), generator=rng))
        voxels = self.store.foreground(number)
        if wanted and len(voxels):
            values = sorted(set(voxels[:, 0].tolist()))
            places = voxels[voxels[:, 0] == values[int(which * len(values))]]
            middle = places[int(torch.randint(len(places), (), generator=rng)), 1:]
            drawn = [
                PATCH * round(min(max(float(m) - c / 2, 0), n) / PATCH)
                for m, c, n in zip(middle, self.settings.crop, free, strict=True)
            ]
        return drawn[0], drawn[1], drawn[2]
