"""Frame posterior -> labels on the scan's grid: borders between classes, nested regions, islands, small lesions.

A network answers with classes (K, T, H, W), background first, that sum to 1, or with regions (R, T, H, W), the outer
before the inner, each with a probability of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.errors import ModelError
from asa.geometry import FRAME, Alignment, box_slices, from_frame
from asa.model_description import MovedClass
from asa.tasks import Task
from asa.volume import Grid

Map = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]
Progress = Callable[[float], None]


def move_class(posterior: Map, moved: MovedClass) -> Map:
    """Give the probability of one class to another within a box of the brain frame, in place.

    A model uses this where a training label is split by place in what it is compared with: FreeSurfer's CSF holds
    the velum interpositum, which manual protocols draw with the third ventricle.

    Args:
        posterior: (K, T, H, W) in the brain frame.
        moved: which class, to which other one, and where.
    """
    box = box_slices(moved.box_mm)
    posterior[(moved.target, *box)] += posterior[(moved.source, *box)]
    posterior[(moved.source, *box)] = 0
    return posterior


def keep_main_component(posterior: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make background of what does not touch the largest connected foreground (26-neighbourhood), in place."""
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
    """Of each region of the task, outer before inner, the one label value that the next region does not hold.

    Raises:
        ModelError: the regions of the task do not lie within one another.
    """
    values = [set(region.values) for region in task.regions]
    rings = [outer - inner for outer, inner in itertools.pairwise([*values, set()])]
    if any(len(ring) != 1 for ring in rings) or not all(a >= b for a, b in itertools.pairwise(values)):
        raise ModelError(f"the regions of task '{task.name}' are not nested, so a network cannot answer with them")
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
    """Most likely class of each voxel of ``grid`` and, with ``keep``, the probabilities (K, *grid.shape).

    With ``threshold`` a voxel is labelled from this probability of all but the background on, as the likeliest of them.
    """
    box, part = reached_box(classes[0] < 1 - min(0.05, 0.5 * (threshold or 1)), alignment, grid)
    index = np.zeros(part.shape, np.uint8)
    best = np.zeros(part.shape, np.float32)
    kept = nothing(len(classes), grid) if keep else None
    for number, likely in enumerate(on_grid(classes, alignment, part, progress)):
        if number == 0 and threshold is not None:
            background = likely > 1 - threshold
        else:
            higher = likely > best
            index[higher] = number
            np.maximum(best, likely, out=best)
        if kept is not None:
            kept[(number, *box)] = likely
    if threshold is not None:
        index[background] = 0
    labels = np.zeros(grid.shape, np.uint8)
    labels[box] = index
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
    """Label values of settled regions on ``grid`` and, with ``keep``, the probabilities of background and labels."""
    box, part = reached_box(regions[0] > 0.05, alignment, grid)
    values = np.zeros(part.shape, np.uint8)
    kept = nothing(1 + len(task.labels), grid) if keep else None
    place = {label.value: number for number, label in enumerate(task.labels, start=1)}
    outside = 0  # class of what lies around the region at hand
    around = np.ones(part.shape, np.float32)
    for value, likely in zip(ring_values(task), on_grid(regions, alignment, part, progress), strict=True):
        values[likely > 0.5] = value
        if kept is not None:
            kept[(outside, *box)] = around - likely
            kept[(place[value], *box)] = likely
        outside, around = place[value], likely
    labels = np.zeros(grid.shape, np.uint8)
    labels[box] = values
    return labels, kept


def nothing(classes: int, grid: Grid) -> npt.NDArray[np.float16]:
    """Probabilities (classes, *grid.shape) that say background everywhere."""
    posterior = np.zeros((classes, *grid.shape), np.float16)
    posterior[0] = 1
    return posterior


def on_grid(maps: Map, alignment: Alignment, grid: Grid, progress: Progress) -> Iterator[Map]:
    """Each of the maps (N, T, H, W) of the frame on ``grid``, in turn."""
    with ThreadPoolExecutor(2) as pool:  # scipy resamples without holding the interpreter
        for number, moved in enumerate(pool.map(lambda one: from_frame(one, alignment, grid).array, maps), start=1):
            yield moved
            progress(number / len(maps))


def reached_box(shown: npt.NDArray[np.bool_], alignment: Alignment, grid: Grid) -> tuple[Box, Grid]:
    """The part of ``grid`` that the voxels ``shown`` (T, H, W) of the frame can reach, as slices and as a grid.

    Only it is resampled, so that a large scan costs little memory.
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
    """Voxels low <= index < high of ``grid``: as slices, and as a grid of their own."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(low)
    shape = tuple(int(n) for n in high - low)
    return (box[0], box[1], box[2]), Grid((shape[0], shape[1], shape[2]), affine)
