"""Create the missing surfaces of a segmentation in a separate process and add them without blocking the GUI."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ASASegmentationLib.segments import surfaces
from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASegmentationLib.segments.edits import version_of, voxels
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE, Surface, poly_data
from ASASlicerLib.engine_job import CleanUp, EngineJob, JobState
from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance


class SurfaceJob(EngineJob[Mapping[str, vtk.vtkPolyData]]):
    """Creates a surface of each segment that has none; the result maps segment ids to surfaces."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, runner: ProcessRunner) -> None:
        segmentation = node.GetSegmentation()
        self._segments = {key: segmentation.GetSegment(key) for key in _without_surfaces(node)}
        self.versions = {key: version_of(segment) for key, segment in self._segments.items()}
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        """Write a mask of each segment; return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
        """
        requested = []
        for number, segment in enumerate(self._segments.values()):
            found = yield from voxels(segment)
            mask = np.pad(found.mask, 1).T.view(np.uint8)  # a file holds at least one voxel
            affine = found.ijk_to_ras.copy()
            affine[:3, 3] -= affine[:3, :3].sum(axis=1)
            path = self.folder / f"mask_{number}.nii"
            yield from write_nifti(path, partial(np.asarray, mask), affine)
            requested.append({"labels": str(path), "values": [1]})
        return self.program(surfaces.__name__, {"folder": str(self.folder), "segments": requested})

    def results(self) -> Steps[Mapping[str, vtk.vtkPolyData]]:
        """Read the surfaces; an empty segment has one without triangles.

        Raises:
            OSError, ValueError: a file is missing or invalid.
        """
        found = {}
        for number, key in enumerate(self._segments):
            surface = Surface.load(self.folder, number)
            yield True
            found[key] = (yield from poly_data(surface)) if surface is not None else vtk.vtkPolyData()
        return found


class SurfaceMaker:
    """Creates missing surfaces of one segmentation at a time. Call `poll` regularly while it is `busy`.

    Signals: `changed()` when it starts or ends, `failed(str)` with a sentence for the user.
    """

    def __init__(self, runner: ProcessRunner) -> None:
        self.changed, self.failed = Signal(), Signal()
        self._runner = runner
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._job: SurfaceJob | None = None
        self._arrival: Steps[bool] | None = None
        self._ended = CleanUp()

    @property
    def running(self) -> bool:
        """Whether surfaces are being created or added."""
        return self._job is not None or self._arrival is not None

    @property
    def busy(self) -> bool:
        """Whether work remains, including clean-up."""
        return self.running or bool(self._ended)

    def start(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Show the surfaces of a segmentation in the 3-D views, after creating those that are missing."""
        self.cancel()
        self._node = node
        if not _without_surfaces(node):
            self._arrival = self._show(node, {})
        else:
            try:
                self._job = SurfaceJob(node, self._runner)
            except OSError as error:
                self._fail(_("The temporary folder could not be created: {reason}.").format(reason=error))
                return
        self.changed()

    def cancel(self) -> None:
        """End the process; the surfaces that are there already stay."""
        if self._job is not None:
            self._job.cancel()
            self._ended.add(self._job)
        running, self._job, self._arrival = self.running, None, None
        if running:
            self.changed()

    def close(self) -> None:
        """End the process; clean-up takes at most one second."""
        self.cancel()
        self._ended.finish()

    def poll(self) -> None:
        """Do a few milliseconds of work."""
        self._ended.advance()
        if self._node is not None and self._node.GetScene() is None:  # removed meanwhile
            self.cancel()
            self._node = None
        elif self._arrival is not None and self._node is not None:
            self._arrive(self._arrival)
        elif self._job is not None and self._node is not None:
            self._follow(self._job, self._node)

    def _arrive(self, arrival: Steps[bool]) -> None:
        try:
            done = advance(arrival)
        except Exception as error:  # whatever the scene raises, the panel must not wait forever
            self._arrival = None
            self._fail(str(error))
            raise
        if done:
            self._arrival = None
            self.changed()

    def _follow(self, job: SurfaceJob, node: slicer.vtkMRMLSegmentationNode) -> None:
        job.poll()
        if not job.ended:
            return
        self._job = None
        self._ended.add(job)
        if job.state is JobState.FAILED:
            self._fail(job.error)
        elif any(version_of(node.GetSegmentation().GetSegment(key)) != old for key, old in job.versions.items()):
            self.start(node)  # the user has edited a segment meanwhile
        else:
            self._arrival = self._show(node, job.result or {})

    def _show(self, node: slicer.vtkMRMLSegmentationNode, found: Mapping[str, vtk.vtkPolyData]) -> Steps[bool]:
        segmentation = node.GetSegmentation()
        modified = node.StartModify()  # a view that hears of the first surface would create all others
        for key, surface in found.items():
            if (segment := segmentation.GetSegment(key)) is not None:
                segment.AddRepresentation(CLOSED_SURFACE, surface)
        node.EndModify(modified)
        yield True
        yield from reveal(node)
        return True

    def _fail(self, reason: str) -> None:
        self.changed()
        self.failed(_("The surfaces could not be created: {reason}").format(reason=reason))


def reveal(node: slicer.vtkMRMLSegmentationNode) -> Steps[None]:
    """Show the surfaces of a segmentation one by one: the first drawing of a cortex takes a while."""
    display = node.GetDisplayNode()
    shown = [key for key in node.GetSegmentation().GetSegmentIDs() if display.GetSegmentVisibility3D(key)]
    modified = display.StartModify()
    for key in shown:
        display.SetSegmentVisibility3D(key, False)
    display.SetVisibility3D(True)
    display.EndModify(modified)
    try:
        while shown:
            yield False  # the views are drawn in between
            display.SetSegmentVisibility3D(shown.pop(), True)
    finally:
        modified = display.StartModify()
        for key in shown:  # if the work was stopped half-way
            display.SetSegmentVisibility3D(key, True)
        display.EndModify(modified)


def _without_surfaces(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Return the ids of segments with a label map that have no surface."""
    segmentation = node.GetSegmentation()
    segments = {key: segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()}
    return [
        key
        for key, segment in segments.items()
        if segment.GetRepresentation(CLOSED_SURFACE) is None and segment.GetRepresentation(BINARY_LABELMAP) is not None
    ]
