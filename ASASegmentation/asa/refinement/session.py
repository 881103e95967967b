"""A refinement session: a segmentation, and the marks made on it one after another.

The result is a pure function of the start and the marks: each mark changes the result of those before it in a crop
around itself and reads nothing outside that crop, so that marks far from one another may come in any order. The session
keeps what the function needs again (features, current segments and posterior) and the inverse of each change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.refinement.crop import Crop, State, touches
from asa.refinement.drawing import Drawn, draw
from asa.refinement.energy import CONSTANTS, Constants, Mask, crop_of
from asa.refinement.features import Features, compute_features
from asa.refinement.marks import Mark
from asa.refinement.rules import Bits, Rules, Segment
from asa.refinement.threshold import fitting
from asa.tasks import Task
from asa.volume import Volume

# Margins of the crop around a mark in mm: the second where a change reaches the border of the first.
MARGINS_MM = (36.0, 64.0)
_MIN_CERTAINTY = np.float32(0.6)  # probability of a corrected voxel's label, at least


@dataclass(frozen=True)
class Start:
    """What a session starts from; all volumes share one grid.

    Attributes:
        images: in the order of the task's modalities.
        labels: uint8 label map with the values of the task; zeros where nothing is segmented yet.
        task: names the segments.
        posterior: (1 + number of labels, T, H, W) probabilities of the background and the labels, or None.
        edited: (T, H, W), voxels that the user has edited manually, which only a mark on them may change; or None.
    """

    images: Sequence[Volume]
    labels: Volume
    task: Task
    posterior: npt.NDArray[np.floating] | None = None
    edited: Mask | None = None


@dataclass(frozen=True)
class Change:
    """What one mark changed.

    Attributes:
        voxels: number of voxels with another label.
        low, high: corners, half-open, of the box (t, h, w) that holds them; equal if there are none.
    """

    voxels: int
    low: tuple[int, int, int] = (0, 0, 0)
    high: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class _Patch:
    """A change that can be made and taken back.

    ``places`` and ``marked`` are flat indices of voxels; ``corners`` are the lowest and the highest voxel of the mark.
    """

    mark: Mark
    places: npt.NDArray[np.intp]
    labels: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
    posterior: tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]] | None
    marked: npt.NDArray[np.intp]
    allowed: tuple[npt.NDArray[Bits], npt.NDArray[Bits]]
    corners: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


class Refinement:
    """A segmentation under correction."""

    def __init__(
        self,
        start: Start,
        locked: Sequence[str] = (),
        constants: Constants = CONSTANTS,
        features: Features | None = None,
    ) -> None:
        """Compute what does not depend on marks; about a second for four images of 240×240×155 voxels.

        Args:
            start: the segmentation.
            locked: names of segments that must not change.
            constants: of the energy.
            features: those of an earlier session on the same images; None computes them.

        Raises:
            InputError: images, labels and posterior do not fit one another, or a locked segment does not exist.
        """
        self.task, self.grid = start.task, start.labels.grid
        self.rules = Rules(start.task, locked)
        self._check(start)
        self._state = State(
            features=features or compute_features(start.images, constants.contrast),
            rules=self.rules,
            constants=constants,
            labels=start.labels.array.astype(np.uint8),
            allowed=np.full(self.grid.shape, self.rules.everything, Bits),
            posterior=None if start.posterior is None else start.posterior.astype(np.float16),
            edited=start.edited,
        )
        self._done: list[_Patch] = []
        self._undone: list[_Patch] = []

    def _check(self, start: Start) -> None:
        values = np.flatnonzero(np.bincount(start.labels.array.ravel().astype(np.int64), minlength=1))
        if foreign := sorted(set(values.tolist()) - set(self.rules.values)):
            raise InputError(f"The segmentation holds the value {foreign[0]}, which task '{self.task.name}' has not.")
        if not start.images or not start.images[0].grid.same_as(self.grid):
            raise InputError("The images and the segmentation are on different grids; they do not match.")
        shape = (len(self.rules.values), *self.grid.shape)
        if start.posterior is not None and start.posterior.shape != shape:
            raise InputError("The posterior and the segmentation are on different grids; they do not match.")
        if start.edited is not None and start.edited.shape != self.grid.shape:
            raise InputError("The edited voxels and the segmentation are on different grids.")

    @property
    def features(self) -> Features:
        """What is known of the images, for another session on them."""
        return self._state.features

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """The current label map (T, H, W); a view that must not be written to."""
        view = self._state.labels.view()
        view.flags.writeable = False
        return view

    @property
    def posterior(self) -> npt.NDArray[np.float16] | None:
        """The current probabilities of background and labels, or None; a view that must not be written to."""
        if self._state.posterior is None:
            return None
        view = self._state.posterior.view()
        view.flags.writeable = False
        return view

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The marks that are in effect."""
        return tuple(patch.mark for patch in self._done)

    def add(self, mark: Mark) -> Change:
        """Correct the segmentation by one more mark.

        Args:
            mark: what the user says.

        Returns:
            What changed; nothing if the segmentation already is as the mark wants it.

        Raises:
            InputError: the mark lies outside the image, contradicts an earlier one, lies on a locked segment or names
                no segment. Nothing has changed then.
        """
        name = f"Mark {len(self._done) + 1} ({mark.kind})"
        segment = self.rules.segment(mark.segment, name)
        drawn = draw(mark, self.grid, name)
        if mark.kind == "threshold":
            drawn = fitting(self._state, segment, mark.adds, drawn.voxels, name)
        patch = self._patch(mark, segment, drawn, name)
        self._apply(patch, 1)
        self._done.append(patch)
        self._undone.clear()
        return _change(patch, self.grid.shape)

    def undo(self) -> bool:
        """Take the last mark back, byte for byte; False if there is none."""
        if not self._done:
            return False
        patch = self._done.pop()
        self._apply(patch, 0)
        self._undone.append(patch)
        return True

    def redo(self) -> bool:
        """Make the mark again that was taken back last; False if there is none."""
        if not self._undone:
            return False
        patch = self._undone.pop()
        self._apply(patch, 1)
        self._done.append(patch)
        return True

    def _apply(self, patch: _Patch, side: int) -> None:
        self._state.labels.reshape(-1)[patch.places] = patch.labels[side]
        self._state.allowed.reshape(-1)[patch.marked] = patch.allowed[side]
        if patch.posterior is not None and self._state.posterior is not None:
            self._state.posterior.reshape(len(self._state.posterior), -1)[:, patch.places] = patch.posterior[side]

    def _patch(self, mark: Mark, segment: Segment, drawn: Drawn, name: str) -> _Patch:
        """What the mark changes."""
        wanted = segment.bits if mark.adds else self.rules.everything & ~segment.bits
        places = tuple(drawn.voxels.T)
        marked = np.ravel_multi_index(places, self.grid.shape)
        corners = (drawn.voxels.min(axis=0), drawn.voxels.max(axis=0))
        before = self._state.allowed[places]
        labels = self._state.labels[places]
        agrees = self.rules.member(labels, segment) == mark.adds
        after = before & Bits(wanted) if drawn.certain else before
        if not after.all():
            raise InputError(
                f"{name} contradicts an earlier mark at the same location; undo that one first. Nothing was changed."
            )
        satisfied = bool(agrees.all() if drawn.certain else agrees.any())
        if not satisfied and drawn.certain:
            self._check_locks(labels[~agrees], after[~agrees], self.rules.targets(segment, adds=mark.adds), name)
        none = np.zeros(0, np.intp)
        empty = (np.zeros(0, np.uint8), np.zeros(0, np.uint8))
        unchanged = (
            None if self._state.posterior is None else (np.zeros((len(self._state.posterior), 0), np.float16),) * 2
        )
        if satisfied:
            return _Patch(mark, none, empty, unchanged, marked, (before, after), corners)
        self._state.allowed[places] = after
        try:
            changed, values, certainty = self._changed(mark.adds, segment, drawn)
        finally:
            self._state.allowed[places] = before
        if not len(changed):  # only of a box: every voxel of another mark changes or was refused above
            raise InputError(f"Nothing in {name[0].lower()}{name[1:]} may change: locks or earlier marks forbid it.")
        flat = np.ravel_multi_index(tuple(changed.T), self.grid.shape)
        old = self._state.labels.reshape(-1)[flat]
        posterior = None
        if self._state.posterior is not None:
            earlier = self._state.posterior.reshape(len(self._state.posterior), -1)[:, flat]
            posterior = (earlier, _corrected(earlier, np.searchsorted(self.rules.values, values), certainty))
        return _Patch(mark, flat, (old, values), posterior, marked, (before, after), corners)

    def _check_locks(
        self, labels: npt.NDArray[np.uint8], allowed: npt.NDArray[Bits], targets: Sequence[int], name: str
    ) -> None:
        """Refuse a mark that a locked segment or an earlier mark does not let come true."""
        free = np.zeros(len(labels), bool)
        unlocked = np.zeros(len(labels), bool)
        for target in targets:
            permitted = self.rules.permitted[labels, target]
            unlocked |= permitted
            free |= permitted & ((allowed >> Bits(target)) & Bits(1)).astype(bool)
        if not unlocked.all():
            names = ", ".join(segment.name for segment in self.rules.locked)
            raise InputError(f"{name} would change a locked segment ({names}); unlock it first. Nothing was changed.")
        if not free.all():
            raise InputError(
                f"{name} contradicts an earlier mark at the same location; undo that one first. Nothing was changed."
            )

    def _changed(
        self, adds: bool, segment: Segment, drawn: Drawn
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return the voxels (N, 3) that change, their new values and how probable those are."""
        features = self._state.features
        blocks = np.asarray(features.blocks)
        shape = features.shown.shape
        seeds = np.unique(drawn.voxels // blocks, axis=0)
        for margin in MARGINS_MM:
            low, high = crop_of(seeds, shape, features.spacing, margin)
            start, stop = low * blocks, np.minimum(high * blocks, self.grid.shape)
            earlier = self._within(start, stop, segment)
            crop = Crop(self._state, (low, high), (start, stop), adds, segment, drawn, earlier)
            probability = crop.probability(seeds - low)
            flips = crop.flips(probability)
            if not touches(flips, start, stop, self.grid.shape):
                break
        values = crop.values(flips)
        return np.argwhere(flips) + start, values, probability[flips]

    def _within(self, start: npt.NDArray[np.intp], stop: npt.NDArray[np.intp], segment: Segment) -> int:
        """Count the marks between two corners that have changed a segment."""
        return sum(
            len(patch.places) > 0
            and patch.mark.segment == segment.name
            and bool((patch.corners[1] >= start).all() and (patch.corners[0] < stop).all())
            for patch in self._done
        )


def _corrected(
    earlier: npt.NDArray[np.float16], rows: npt.NDArray[np.intp], certainty: npt.NDArray[np.float32]
) -> npt.NDArray[np.float16]:
    """Return probabilities (K, N) in which the classes ``rows`` have at least ``certainty``, and sum to 1 as before."""
    sure = np.maximum(certainty, _MIN_CERTAINTY)
    corrected = earlier.astype(np.float32) * (1 - sure)
    corrected[rows, np.arange(len(rows))] += sure
    rounded: npt.NDArray[np.float16] = corrected.astype(np.float16)
    return rounded


def _change(patch: _Patch, shape: Sequence[int]) -> Change:
    if not len(patch.places):
        return Change(0)
    places = np.stack(np.unravel_index(patch.places, tuple(shape)))
    low, high = (tuple(map(int, ends)) for ends in (places.min(axis=1), places.max(axis=1) + 1))
    return Change(len(patch.places), low, high)  # type: ignore[arg-type]
