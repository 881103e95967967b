"""The compared systems behind one interface: a start, then marks one after another, then a mask.

All peers see the same images, the same marks and the same start. They have no prior: of a start they take what lies
more than 3 mm inside it as seeds of the segment, and what lies more than 3 mm outside as seeds of the rest. From
nothing, what the image shows as background is the rest's first seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.refinement import Mark, Refinement, Start
from asa.refinement.drawing import draw
from asa.refinement.features import compute_features
from asa.refinement.solvers import geodesic_distance
from asa.volume import Grid, Volume

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]

SEED_MM = 3.0  # distance of the peers' seeds from the border of the start
BRUSH_MM = 2.0  # radius that the peers' marks have; theirs are drawn with a brush
WALKER_MM = 2.0  # voxels of the random walker: at 1 mm one interaction takes minutes
WALKER_BETA = 130.0  # scikit-image's default
BARRIER = 1.5  # of the geodesic brush: as ours


@dataclass(frozen=True)
class Task:
    """One segment of one case to be corrected.

    Attributes:
        start: of our session, the others take images and the segment's mask of it.
        segment: its name.
        given: whether there is a segmentation to start from.
        shown: index of the image that a system of one image sees.
    """

    start: Start
    segment: str
    given: bool
    shown: int


class Ours:
    """asa.refinement."""

    name = "ASA"

    def __init__(self, task: Task) -> None:
        self._session = Refinement(task.start)
        self._segment = self._session.rules.segment(task.segment, "The benchmark")

    def add(self, mark: Mark) -> Mask:
        """The mask after one more mark."""
        self._session.add(mark)
        return self._session.rules.member(np.asarray(self._session.labels), self._segment)


class OursAlone(Ours):
    """asa.refinement without the probabilities."""

    name = "ASA, intensities alone"

    def __init__(self, task: Task) -> None:
        super().__init__(replace(task, start=replace(task.start, posterior=None)))


class _Seeded:
    """A system that segments anew from all seeds after each mark."""

    def __init__(self, task: Task) -> None:
        self.grid: Grid = task.start.labels.grid
        self.images = [image.array for image in task.start.images]
        self.task = task
        shown = np.any([image != 0 for image in self.images], axis=0)
        self.seeds = np.zeros(self.grid.shape, np.uint8)  # 1: the segment, 2: the rest
        self.seeds[~shown] = 2
        self.mask = np.zeros(self.grid.shape, bool)
        if task.given:
            session_values = {region.name: region.values for region in task.start.task.regions}[task.segment]
            self.mask = np.isin(task.start.labels.array, session_values)
            inside = ndimage.distance_transform_edt(self.mask, sampling=self.grid.spacing)
            outside = ndimage.distance_transform_edt(~self.mask, sampling=self.grid.spacing)
            self.seeds[inside > SEED_MM] = 1
            self.seeds[outside > SEED_MM] = 2
        found = ndimage.find_objects(shown.astype(np.uint8))[0]
        self.box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)

    def add(self, mark: Mark) -> Mask:
        """The mask after one more mark."""
        brushed = replace(mark, radius_mm=BRUSH_MM)
        self.seeds[tuple(draw(brushed, self.grid).voxels.T)] = 1 if mark.adds else 2
        self.mask[self.box] = self.segmented(self.seeds[self.box])
        return self.mask.copy()

    def segmented(self, seeds: npt.NDArray[np.uint8]) -> Mask:
        """The mask in the box, from seeds in it."""
        raise NotImplementedError


class GrowFromSeeds(_Seeded):
    """vtkImageGrowCutSegment of 3D Slicer (Zhu et al. 2014), on the image that shows the segment best."""

    name = "grow from seeds (3D Slicer)"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import slicer
        import vtk

        self._filter = slicer.vtkImageGrowCutSegment()
        self._filter.SetIntensityVolume(self._image(vtk.VTK_FLOAT, self.images[task.shown][self.box]))

    def _image(self, kind: int, array: npt.NDArray[np.generic]) -> object:
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk

        image = vtk.vtkImageData()
        image.SetDimensions(*array.shape[::-1])
        image.SetSpacing(*self.grid.spacing[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True, array_type=kind))
        return image

    def segmented(self, seeds: npt.NDArray[np.uint8]) -> Mask:
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self._filter.SetSeedLabelVolume(self._image(vtk.VTK_SHORT, seeds.astype(np.int16)))
        self._filter.Update()
        found = vtk_to_numpy(self._filter.GetOutput().GetPointData().GetScalars())
        mask: Mask = found.reshape(seeds.shape) == 1
        return mask


class RandomWalker(_Seeded):
    """scikit-image's random walker (Grady 2006) over all images, on voxels of 2 mm."""

    name = "random walker (scikit-image)"

    def segmented(self, seeds: npt.NDArray[np.uint8]) -> Mask:
        from skimage.segmentation import random_walker

        steps = tuple(slice(None, None, max(1, round(WALKER_MM / one))) for one in self.grid.spacing)
        blocks = [step.step for step in steps]
        channels = [self._coarse(image[self.box], blocks) for image in self.images]
        data = np.stack([(one - one.mean()) / max(float(one.std()), 1e-6) for one in channels], axis=-1)
        coarse = np.zeros(data.shape[:3], np.int32)
        for value in (2, 1):  # a seed of the segment is not lost to one of the rest in the same block
            places = np.argwhere(seeds == value) // blocks
            places = places[(places < coarse.shape).all(axis=1)]
            coarse[tuple(places.T)] = value
        found = random_walker(data, coarse, beta=WALKER_BETA, mode="cg_j", channel_axis=-1) == 1
        fine = found
        for axis, block in enumerate(blocks):
            fine = np.repeat(fine, block, axis)
        mask = np.zeros(seeds.shape, bool)
        cut = tuple(slice(0, min(a, b)) for a, b in zip(fine.shape, seeds.shape, strict=True))
        mask[cut] = fine[cut]
        mask[seeds == 1], mask[seeds == 2] = True, False
        return mask

    @staticmethod
    def _coarse(image: Map, blocks: list[int]) -> Map:
        for axis, block in enumerate(blocks):
            size = image.shape[axis] // block
            image = np.take(image, range(size * block), axis)
            image = image.reshape(*image.shape[:axis], size, block, *image.shape[axis + 1 :]).mean(axis=axis + 1)
        return image


class GeodesicBrush(_Seeded):
    """Each voxel goes to the seeds that are geodesically nearer, over all images."""

    name = "geodesic brush"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        cut = [
            Volume(np.ascontiguousarray(i[self.box]), Grid(i[self.box].shape, self.grid.affine)) for i in self.images
        ]
        features = compute_features(cut, 1.0)
        self._cost = (1 + np.float32(BARRIER) * features.gradient).astype(np.float32)

    def segmented(self, seeds: npt.NDArray[np.uint8]) -> Mask:
        near = [geodesic_distance(seeds == value, self._cost, self.grid.spacing) for value in (1, 2)]
        mask: Mask = near[0] < near[1]
        return mask


SYSTEMS: dict[str, Callable[[Task], Ours | _Seeded]] = {
    one.name: one for one in (Ours, OursAlone, GrowFromSeeds, RandomWalker, GeodesicBrush)
}
