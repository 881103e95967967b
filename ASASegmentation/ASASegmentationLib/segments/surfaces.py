"""Create closed surfaces of segments in a separate process.

    python -m ASASegmentationLib.segments.surfaces request.json

The request is an object with `folder` and `segments`, a list of objects with `labels`, a NIfTI label map, and `values`,
a list of label values. For each segment n with voxels, surface_<n>_points.npy and further arrays are written to the
folder. Slicer would create surfaces in its GUI thread, where a cortex takes seconds. These use the same settings
(default smoothing, no decimation), so that a segment looks the same after an edit, when Slicer recreates its surface.
Needs numpy and vtk.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ASASlicerLib.nifti import read_nifti, right_handed
from ASASlicerLib.steps import Steps, finish

CLOSED_SURFACE = "Closed surface"
# Equivalent to Slicer's default smoothing factor of 0.5; a test compares the surfaces.
_PASS_BAND, _ITERATIONS = 0.01, 40


@dataclass(frozen=True)
class Surface:
    """Outward-oriented triangle mesh: `points` (N, 3) in RAS mm, `normals` (N, 3), `triangles` (M, 3) of points."""

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray

    def save(self, folder: Path, number: int) -> None:
        """Save the surface of the nth segment."""
        for part in fields(self):
            np.save(_file(folder, number, part.name), getattr(self, part.name))

    @classmethod
    def load(cls, folder: Path, number: int) -> Surface | None:
        """Load the surface of the nth segment, None if there is none; the arrays are memory-mapped."""
        if not _file(folder, number, "points").is_file():
            return None
        return cls(*(np.load(_file(folder, number, part.name), mmap_mode="r") for part in fields(cls)))

    def moved(self, matrix: np.ndarray) -> Surface:
        """Return the surface transformed by a 4x4 matrix in mm."""
        points = self.points @ matrix[:3, :3].T + matrix[:3, 3]
        normals = self.normals @ np.linalg.inv(matrix[:3, :3])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return replace(self, points=points.astype(np.float32), normals=normals.astype(np.float32))


def _file(folder: Path, number: int, part: str) -> Path:
    return folder / f"surface_{number}_{part}.npy"


def make_surface(mask: np.ndarray, ijk_to_ras: np.ndarray) -> Surface | None:
    """Return the surface of a mask (I, J, K) with its 4x4 affine in mm; None if it is empty."""
    mask, ijk_to_ras = right_handed(mask, ijk_to_ras)  # otherwise the triangles face inwards
    corner, box = _cropped(mask)
    image = vtk.vtkImageData()
    image.SetDimensions(box.shape)
    scalars = numpy_to_vtk(box.ravel(order="F").astype(np.uint8), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    edges = vtk.vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.SetValue(0, 1)
    smoother = vtk.vtkWindowedSincPolyDataFilter()
    smoother.SetInputConnection(edges.GetOutputPort())
    smoother.SetNumberOfIterations(_ITERATIONS)
    smoother.SetPassBand(_PASS_BAND)
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    smoother.NonManifoldSmoothingOn()
    smoother.NormalizeCoordinatesOn()
    matrix = vtk.vtkMatrix4x4()
    shift = np.eye(4)
    shift[:3, 3] = corner
    matrix.DeepCopy((ijk_to_ras @ shift).ravel())
    transform = vtk.vtkTransform()
    transform.SetMatrix(matrix)
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetInputConnection(smoother.GetOutputPort())
    placed.SetTransform(transform)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(placed.GetOutputPort())
    normals.ConsistencyOn()
    normals.SplittingOff()
    normals.Update()
    surface = normals.GetOutput()
    if surface.GetNumberOfPolys() == 0:
        return None
    return Surface(
        points=vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float32),
        normals=vtk_to_numpy(surface.GetPointData().GetNormals()).astype(np.float32),
        triangles=vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int32),
    )


def _cropped(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop a mask to its voxels with a margin of one; return the corner index and the crop."""
    spans = []
    for axis in range(3):
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(occupied[0], occupied[-1] + 1) if occupied.size else slice(0, 0))
    corner = np.array([span.start - 1 for span in spans], float)
    return corner, np.pad(mask[tuple(spans)], 1)


def poly_data(surface: Surface) -> Steps[vtk.vtkPolyData]:
    """Convert a surface to VTK poly data, in steps."""
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(surface.points, deep=True))
    yield True
    normals = numpy_to_vtk(surface.normals, deep=True)
    normals.SetName("Normals")
    yield True
    corners = numpy_to_vtk(surface.triangles.reshape(-1), deep=True, array_type=vtk.VTK_TYPE_INT32)
    yield True
    starts = np.arange(0, surface.triangles.size + 1, 3, dtype=np.int32)
    cells = vtk.vtkCellArray()
    cells.SetData(numpy_to_vtk(starts, deep=True, array_type=vtk.VTK_TYPE_INT32), corners)
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    data.GetPointData().SetNormals(normals)
    yield True
    return data


def main(request_path: str) -> None:
    """Run one request file."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    read = lru_cache(maxsize=1)(lambda path: finish(read_nifti(Path(path))))
    for number, segment in enumerate(request["segments"]):
        labels, affine = read(segment["labels"])
        surface = make_surface(np.isin(labels, segment["values"]), affine)
        if surface is not None:
            surface.save(Path(request["folder"]), number)


if __name__ == "__main__":
    main(sys.argv[1])
