"""A small head with a tumour of three nested regions and a segmentation with errors: what refinement starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from asa.refinement import Mark, Start
from asa.tasks import TASKS
from asa.volume import Grid, Volume

SHAPE = (40, 48, 44)
CENTRE, MISSED = (20, 22, 14), (20, 24, 32)  # (t, h, w) of the tumour, and of a second focus


@dataclass(frozen=True)
class Head:
    """A head and its true label map."""

    start: Start
    truth: npt.NDArray[np.uint8]

    def mark(self, place: tuple[float, ...], segment: str = "WT", action: str = "add", **more: object) -> Mark:
        """A point at (t, h, w)."""
        point = tuple(float(one) for one in self.start.labels.grid.to_world(place))
        values = {"kind": "point", "segment": segment, "action": action, "points": (point,), **more}
        return Mark(**values)  # type: ignore[arg-type]


def distance_from(place: tuple[int, ...], shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float64]:
    """Distance of each voxel from a place, in voxels."""
    grid = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return np.sqrt(sum((one - at) ** 2 for one, at in zip(grid, place, strict=True)))


def tumour_head(*, posterior: bool = True, spacing: float = 1.0, seed: int = 0) -> Head:
    """A stripped head of two modalities; the segmentation misses the second focus and the enhancing tumour."""
    rng = np.random.default_rng(seed)
    brain = distance_from((20, 24, 22)) < 19
    truth = np.select(
        [distance_from(CENTRE) < 2, distance_from(CENTRE) < 4, distance_from(CENTRE) < 7, distance_from(MISSED) < 5],
        [1, 3, 2, 2],
        0,
    ).astype(np.uint8)
    grey = np.array([[100, 60, 80, 180], [100, 170, 180, 160]], np.float32)  # modality, label
    images = [np.where(brain, levels[truth] + rng.normal(0, 8, SHAPE), 0).astype(np.float32) for levels in grey]
    labels = np.where(distance_from(CENTRE) < 7, truth, 0).astype(np.uint8)
    labels[labels == 3] = 1
    affine = np.array([[0, 0, spacing, -22], [0, spacing, 0, -24], [spacing, 0, 0, -20], [0, 0, 0, 1]], float)
    grid = Grid(SHAPE, affine)
    chances = np.full((4, *SHAPE), 0.04, np.float32)
    np.put_along_axis(chances, labels[None].astype(int), 0.88, axis=0)
    start = Start(
        images=[Volume(image, grid) for image in images],
        labels=Volume(labels, grid),
        task=TASKS["tumour"],
        posterior=chances.astype(np.float16) if posterior else None,
    )
    return Head(start, truth)


def mirrored(head: Head, axis: int) -> Head:
    """The same head with the order of an axis reversed, array and affine alike mirrored."""

    def flip(volume: Volume) -> Volume:
        return Volume(np.ascontiguousarray(np.flip(volume.array, axis)), volume.grid)

    posterior = head.start.posterior
    start = replace(
        head.start,
        images=[flip(image) for image in head.start.images],
        labels=flip(head.start.labels),
        posterior=None if posterior is None else np.ascontiguousarray(np.flip(posterior, axis + 1)),
    )
    return Head(start, np.flip(head.truth, axis))
