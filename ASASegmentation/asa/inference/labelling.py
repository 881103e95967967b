"""Convert posteriors in the brain frame to labels on the scan's grid.

A network predicts classes (K, T, H, W), background first, that sum to 1, or independent probabilities of nested
regions (R, T, H, W), outer before inner.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.errors import ModelError
from asa.geometry import FRAME, Alignment, box_slices
from asa.inference.sampling import sampled_slabs
from asa.model_description import MovedClass
from asa.tasks import Task
from asa.volume import Grid

Map = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]
Progress = Callable[[float], None]


def move_class(posterior: Map, moved: MovedClass) -> Map:
    """Move the probability of one class to another within a box of the brain frame, in place.

    A model uses this where label protocols differ by location: FreeSurfer's CSF includes the velum interpositum, which
    manual protocols assign to the third ventricle.

    Args:
        posterior: (K, T, H, W) in the brain frame.
        moved: which class, to which other one, and where.
    """
    box = box_slices(moved.box_mm)
    posterior[(moved.target, *box)] += posterior[(moved.source, *box)]
    posterior[(moved.source, *box)] = 0
    return posterior


def keep_main_component(posterior: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Set everything outside the largest connected foreground (26-neighbourhood) to background, in place."""
    shown = posterior[0] < 0.5
    parts, count = ndimage.label(shown, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        islands = shown & (parts != sizes.argmax())
        posterior[:, islands] = 0
        posterior[0, islands] = 1
    return posterior


def ring_values(task: Task) -> list[int]:
    """Return for each region, outer before inner, the one label value that the next region does not contain.

    Raises:
        ModelError: the regions of the task do not lie within one another.
    """
    values = [set(region.values) for region in task.regions]
    rings = [outer - inner for outer, inner in itertools.pairwise([*values, set()])]
    if any(len(ring) != 1 for ring in rings) or not all(a >= b for a, b in itertools.pairwise(values)):
        raise ModelError(f"The regions of task '{task.name}' are not nested, so a network cannot predict them.")
    return [ring.pop() for ring in rings]


def label_classes(
    classes: Map,
    alignment: Alignment,
    grid: Grid,
    *,
    threshold: float | None = None,
    keep: bool = False,
    progress: Progress = lambda _: None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16] | None]:
    """Return the most probable class of each voxel of ``grid`` and, with ``keep``, the probabilities (K, *grid.shape).

    With ``threshold``, voxels with at least this probability of foreground get the most likely foreground class.
    """
    box, part = reachable_box(classes[0] < 1 - min(0.05, 0.5 * (threshold or 1)), alignment, grid)
    labels = np.zeros(grid.shape, np.uint8)
    kept = background_posterior(len(classes), grid) if keep else None
    for slices, probabilities in sampled_slabs(classes, alignment, part):
        index = np.zeros(probabilities.shape[1:], np.uint8)
        best = np.zeros(index.shape, np.float32)
        for number, probability in enumerate(probabilities):
            if number == 0 and threshold is not None:
                continue
            index[probability > best] = number
            np.maximum(best, probability, out=best)
        if threshold is not None:
            index[probabilities[0] > 1 - threshold] = 0
        slab = slab_of(box, slices)
        labels[slab] = index
        if kept is not None:
            kept[(slice(None), *slab)] = probabilities
        progress(slices.stop / part.shape[0])
    return labels, kept


def label_regions(
    regions: Map,
    task: Task,
    alignment: Alignment,
    grid: Grid,
    *,
    keep: bool = False,
    progress: Progress = lambda _: None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16] | None]:
    """Return labels of regions on ``grid`` and, with ``keep``, probabilities of background and labels."""
    box, part = reachable_box(regions[0] > 0.05, alignment, grid)
    labels = np.zeros(grid.shape, np.uint8)
    kept = background_posterior(1 + len(task.labels), grid) if keep else None
    place = {label.value: number for number, label in enumerate(task.labels, start=1)}
    for slices, probabilities in sampled_slabs(regions, alignment, part):
        values = np.zeros(probabilities.shape[1:], np.uint8)
        slab = slab_of(box, slices)
        outside = 0  # class around the current region
        around = np.ones(values.shape, np.float32)
        for value, probability in zip(ring_values(task), probabilities, strict=True):
            values[probability > 0.5] = value
            if kept is not None:
                kept[(outside, *slab)] = around - probability
                kept[(place[value], *slab)] = probability
            outside, around = place[value], probability
        labels[slab] = values
        progress(slices.stop / part.shape[0])
    return labels, kept


def slab_of(box: Box, slices: slice) -> Box:
    """Return some slices of a box of voxels, counted from its first."""
    return slice(box[0].start + slices.start, box[0].start + slices.stop), box[1], box[2]


def background_posterior(classes: int, grid: Grid) -> npt.NDArray[np.float16]:
    """Return probabilities (classes, *grid.shape) of background everywhere."""
    posterior = np.zeros((classes, *grid.shape), np.float16)
    posterior[0] = 1
    return posterior


def reachable_box(shown: npt.NDArray[np.bool_], alignment: Alignment, grid: Grid) -> tuple[Box, Grid]:
    """Return the part of ``grid`` covered by the voxels ``shown`` (T, H, W) of the frame, as slices and as a grid.

    Only this part is resampled, to save memory on large scans.
    """
    found = ndimage.find_objects(shown.astype(np.uint8))
    if not found:
        return crop_grid(grid, np.zeros(3, int), np.ones(3, int))
    ends = [(s.start - 2, s.stop + 1) for s in found[0]]
    points = FRAME.to_world(list(itertools.product(*ends)))
    voxels = grid.to_index(points @ alignment.matrix[:3, :3].T + alignment.matrix[:3, 3])
    low = np.clip(np.floor(voxels.min(0)) - 1, 0, np.array(grid.shape) - 1).astype(int)
    high = np.clip(np.ceil(voxels.max(0)) + 2, low + 1, grid.shape).astype(int)
    return crop_grid(grid, low, high)


def crop_grid(grid: Grid, low: npt.NDArray[np.int_], high: npt.NDArray[np.int_]) -> tuple[Box, Grid]:
    """Return the voxels low <= index < high of ``grid``, as slices and as a grid."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(low)
    shape = tuple(int(n) for n in high - low)
    return (box[0], box[1], box[2]), Grid((shape[0], shape[1], shape[2]), affine)
