"""Training samples from a store of scans."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from asa.data.scan_store import ScanStore, Shape
from asa.nn.objective import Batch
from asa.nn.position import Grid3
from asa.preprocessing.normalise import foreground_scale, scaled_by
from asa.seeds import generator, sample_seed
from asa.synth import HeadGenerator

CROP, SYNTHETIC, ORDER, HEAD = 1, 2, 3, 4  # what random numbers are for: mask and crop must not be correlated


class StoredScans:
    """Source of crops: epoch after epoch every scan once, in an order that the seed and the epoch decide.

    Args:
        store: prepared scans.
        numbers: which of them.
        frame: voxels (T, H, W) that the network covers; a larger scan is cropped to its centre.
        patch: edge of a patch in voxels; crops start at patches, so that each has a place in the frame grid.
        crop: voxels of a crop, or None for all of the frame that the store covers.
        flip: mirror left and right half of the time.
        seed: of order, crops, flips and masks.
        shuffle: False gives scans in their own order with the seed of their number (validation).

    Raises:
        ValueError: grid, crop and patches do not fit together.
    """

    def __init__(
        self,
        store: ScanStore,
        numbers: Sequence[int],
        frame: Shape,
        patch: int,
        crop: Shape | None = None,
        *,
        flip: bool = False,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        self.store, self.numbers = store, list(numbers)
        self.patch, self.flip, self.seed, self.shuffle = patch, flip, seed, shuffle
        whole = [min(f, s) for f, s in zip(frame, store.shape, strict=True)]
        self.window = tuple(slice((s - n) // 2, (s - n) // 2 + n) for n, s in zip(whole, store.shape, strict=True))
        margin = [(f - n) // 2 for f, n in zip(frame, whole, strict=True)]
        self.crop = list(crop or whole)
        if any(n % patch for n in (*self.crop, *margin)) or any(c > n for c, n in zip(self.crop, whole, strict=True)):
            raise ValueError(f"Crops of {self.crop} in patches of {patch} do not fit scans of {whole}, frame {frame}.")
        self.margin = [m // patch for m in margin]
        self.scales: dict[int, tuple[float, float]] = {}
        self.steps = [(n - c) // patch for n, c in zip(whole, self.crop, strict=True)]

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return images (B, 1, T, H, W) z-scored, origins in patches, a seed for each sample, and the scans' names."""
        drawn = [self.sample(index) for index in indices]
        return {
            "image": torch.stack([image for image, _, _ in drawn])[:, None],
            "origins": [origin for _, origin, _ in drawn],
            "seeds": [self.seed_of(index) for index in indices],
            "names": [name for _, _, name in drawn],
        }

    def seed_of(self, index: int) -> int:
        """Return the seed of everything random about sample ``index``."""
        return sample_seed(self.seed, index)

    def sample(self, index: int) -> tuple[Tensor, Grid3, str]:
        """Return the image (T, H, W), its origin in patches of the frame grid, and the scan's name."""
        epoch, place = divmod(index, len(self.numbers))
        number = self.numbers[_order(len(self.numbers), self.seed, epoch)[place] if self.shuffle else place]
        rng = generator(self.seed_of(index), CROP)
        start = [int(torch.randint(n + 1, (), generator=rng)) for n in self.steps]
        whole = self.store.read(number)[self.window]
        if number not in self.scales:  # of the whole scan, so found once: crops are then read without the rest
            self.scales[number] = foreground_scale(np.asarray(whole, np.float32))
        box = tuple(slice(n * self.patch, n * self.patch + c) for n, c in zip(start, self.crop, strict=True))
        image = torch.from_numpy(scaled_by(np.asarray(whole[box], np.float32), *self.scales[number]))
        if self.flip and bool(torch.rand((), generator=rng) < 0.5):
            image = image.flip(-1)
            start[2] = self.steps[2] - start[2]
        t, h, w = (m + s for m, s in zip(self.margin, start, strict=True))
        return image.contiguous(), (t, h, w), self.store.scans[number].name


class WithSyntheticHeads:
    """Source that replaces a share of the samples of another source by synthetic heads.

    Args:
        scans: real scans, cut into crops.
        heads: draws crops of the same size, in the same brain frame.
        share: how many are synthetic, 0 to 1.
    """

    def __init__(self, scans: StoredScans, heads: HeadGenerator, share: float) -> None:
        self.scans, self.heads, self.share = scans, heads, share

    def collate(self, indices: Sequence[int]) -> Batch:
        """As :meth:`StoredScans.collate`; the name of a synthetic head is its seed."""
        batch = self.scans.collate(indices)
        for place, seed in enumerate(batch["seeds"]):
            if float(torch.rand((), generator=generator(seed, SYNTHETIC))) < self.share:
                head = self.heads.sample(seed, HEAD)
                batch["image"][place, 0] = head.image
                batch["origins"][place] = head.origin
                batch["names"][place] = f"synthetic {seed}"
        return batch


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator(seed, epoch, ORDER)).tolist()
    return order
