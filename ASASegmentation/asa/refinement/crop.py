"""One mark in one crop: what may change, what does, and which labels it gets; at the resolution of the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.refinement.drawing import Drawn
from asa.refinement.energy import Box, Constants, Mask, Problem, solve
from asa.refinement.features import Features, block_means
from asa.refinement.rules import Bits, Rules, Segment


@dataclass(frozen=True)
class State:
    """The state of a session; the arrays belong to the session and change with each mark.

    Attributes:
        features: of the images.
        rules: of the segments.
        constants: of the energy.
        labels: (T, H, W) label map.
        allowed: (T, H, W) values that marks let a voxel have, as bits.
        posterior: (1 + number of labels, T, H, W), or None.
        edited: (T, H, W) voxels that only a mark on them may change, or None.
    """

    features: Features
    rules: Rules
    constants: Constants
    labels: npt.NDArray[np.uint8]
    allowed: npt.NDArray[Bits]
    posterior: npt.NDArray[np.float16] | None
    edited: Mask | None


class Crop:
    """One mark in one crop, at the resolution of the scan."""

    def __init__(
        self,
        state: State,
        working: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
        full: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
        adds: bool,
        segment: Segment,
        drawn: Drawn,
        corrections: int = 0,
    ) -> None:
        """See the class.

        Args:
            state: of the session; not changed.
            working: corners (low, high), half-open, on the working grid.
            full: the same on the grid of the scan.
            adds: whether the mark adds to its segment.
            segment: of the mark.
            drawn: its voxels.
            corrections: number of earlier marks in the crop that changed the segment.
        """
        self.corrections = corrections
        self.state, self.features, self.rules = state, state.features, state.rules
        self.working, self.full = _box(*working), _box(*full)
        self.labels = state.labels[self.full]
        self.allowed = state.allowed[self.full]
        self.wanted = segment.bits if adds else state.rules.everything & ~segment.bits
        self.adds, self.segment = adds, segment
        self.same = self.rules.member(self.labels, segment) == adds
        self.targets = self.rules.targets(segment, adds=adds)
        self.marked = np.zeros(self.labels.shape, bool)
        self.marked[tuple((drawn.voxels - full[0]).T)] = True
        self.certain, self.boxed = drawn.certain, drawn.box
        self.open = self._open()

    def _takes(self, target: int) -> Mask:
        """Whether locks and marks let each voxel take a value."""
        takes: Mask = (self.allowed & Bits(1 << target)) != 0
        return takes & self.rules.permitted[self.labels, target] if self.rules.locked else takes

    def _open(self) -> Mask:
        """Whether each voxel may change its membership."""
        able = np.zeros(self.labels.shape, bool)
        for target in self.targets:
            able |= self._takes(target)
        if self.state.edited is not None:
            able &= ~self.state.edited[self.full] | self.marked
        if self.boxed:
            able &= self.marked
        opened: Mask = able & ~self.same
        return opened

    def probability(self, seeds: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Return how probably each voxel of the crop is as the mark wants; ``seeds`` are working voxels of the crop."""
        features = self.features
        fine = features.blocks == (1, 1, 1)

        def coarse(mask: Mask, share: float) -> Mask:
            if fine:
                return mask
            means: Mask = block_means(mask.astype(np.float32), features.blocks) > share
            return means

        agreed = coarse((self.allowed & ~Bits(self.wanted)) == 0, 0.0)
        against = coarse((self.allowed & Bits(self.wanted)) == 0, 0.0) & ~agreed
        opposed = coarse(~self.same & ~self.open, 0.5) | against
        sown = np.zeros(agreed.shape, bool)
        sown[tuple(seeds.T)] = True
        problem = Problem(
            box=self.working,
            same=coarse(self.same, 0.5),
            agreed=agreed,
            opposed=opposed & ~agreed,
            seeds=sown if self.certain else sown & _middle(sown),
            against=against,
            adds=self.adds,
            corrections=self.corrections,
            prior=self._prior(),
            flat=not self.certain,
        )
        solved = solve(features, problem, self.state.constants)
        return solved if fine else _enlarged(solved, features.blocks, self.labels.shape)

    def _prior(self) -> npt.NDArray[np.float32] | None:
        posterior = self.state.posterior
        if posterior is None:
            return None
        rows = [row for row, value in enumerate(self.rules.values) if (self.wanted >> value) & 1]
        prior = posterior[(rows, *self.full)].astype(np.float32).sum(axis=0)
        return block_means(prior, self.features.blocks)

    def flips(self, probability: npt.NDArray[np.float32]) -> Mask:
        """Return the voxels that change: one piece with the mark."""
        flips = (probability > 0.5) & self.open
        if self.certain:
            flips |= self.marked & ~self.same
        elif not (flips & _middle(self.marked)).any():
            best = np.where(self.open, probability, -1)
            flips = self.open & (best == best.max())
        pieces, _ = ndimage.label(flips)
        core = self.marked if self.certain else _middle(self.marked)
        kept = np.zeros(pieces.max() + 1, bool)
        kept[pieces[core]] = True
        if not kept[1:].any():
            kept[1:] = True
        kept[0] = False
        chosen: Mask = kept[pieces]
        return chosen

    def values(self, flips: Mask) -> npt.NDArray[np.uint8]:
        """Return the new value of each voxel that changes, in the order of ``numpy.argwhere``."""
        if len(self.targets) == 1:
            return np.full(int(np.count_nonzero(flips)), self.targets[0], np.uint8)
        scores = []
        for target in self.targets:
            score = self._score(target, flips)
            scores.append(np.where(self._takes(target)[flips], score, -1))
        chosen: npt.NDArray[np.uint8] = np.asarray(self.targets, np.uint8)[np.argmax(scores, axis=0)]
        return chosen

    def _score(self, target: int, flips: Mask) -> npt.NDArray[np.float32]:
        """How well a value suits the voxels: by the posterior, or by the intensities of what has it already."""
        if self.state.posterior is not None:
            row = self.rules.values.index(target)
            return self.state.posterior[(row, *self.full)][flips].astype(np.float32)
        codes = self.features.codes[self.working]
        for axis, block in enumerate(self.features.blocks):
            codes = np.repeat(codes, block, axis) if block > 1 else codes
        codes = codes[tuple(slice(0, size) for size in self.labels.shape)]
        held = self.features.counts(codes[self.labels == target])
        return self.features.density(held, self.state.constants.kernel_sd)[codes[flips]]


def touches(flips: Mask, start: npt.NDArray[np.intp], stop: npt.NDArray[np.intp], shape: Sequence[int]) -> bool:
    """Whether a change reaches a border of the crop that is not one of the image."""
    for axis in range(3):
        ends = ([0] if start[axis] > 0 else []) + ([-1] if stop[axis] < shape[axis] else [])
        if any(np.take(flips, end, axis).any() for end in ends):
            return True
    return False


def _box(low: npt.NDArray[np.intp], high: npt.NDArray[np.intp]) -> Box:
    t, h, w = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return t, h, w


def _middle(mask: Mask) -> Mask:
    """Return the middle half, along each axis, of the box that a mask fills."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    inner = tuple(slice(s.start + (s.stop - s.start) // 4, s.stop - (s.stop - s.start) // 4) for s in found)
    middle = np.zeros_like(mask)
    middle[inner] = True
    return middle


def _enlarged(solved: npt.NDArray[np.float32], blocks: Sequence[int], shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return a map of working voxels at the resolution of the scan, linearly interpolated."""
    for axis, (block, size) in enumerate(zip(blocks, shape, strict=True)):
        if block == 1:
            continue
        place = np.clip((np.arange(size) + 0.5) / block - 0.5, 0, solved.shape[axis] - 1)
        low = np.minimum(place.astype(np.intp), max(solved.shape[axis] - 2, 0))
        high = np.minimum(low + 1, solved.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(3)])
        solved = np.take(solved, low, axis) * (1 - share) + np.take(solved, high, axis) * share
    return solved
