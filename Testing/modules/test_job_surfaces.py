"""Surfaces made beside Slicer are those that Slicer makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ASASegmentationLib.segments.build import SegmentSpec, add_segments
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE, Surface, make_surface, poly_data
from ASASlicerLib.steps import finish

TILTED = np.array([[-1, 0.1, 0, 30], [0, 0.2, 1.2, 3], [0.1, 0.9, 0, 5], [0, 0, 0, 1.0]])
MIRRORED = TILTED @ np.diag([-1, 1, 1, 1])  # left-handed


def blobs() -> np.ndarray:
    """Two pieces, one of them hollow and at the border of the image."""
    i, j, k = np.mgrid[:40, :36, :30]
    radius = np.sqrt((i - 12) ** 2 + (j - 8) ** 2 + (k - 12) ** 2)
    return ((radius < 11) & (radius > 4)) | (np.abs(i - 30) + np.abs(j - 25) + np.abs(k - 20) < 7)


@pytest.mark.parametrize("affine", [TILTED, MIRRORED], ids=["right-handed", "left-handed"])
def test_they_are_those_that_slicer_makes(affine: np.ndarray) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    add_segments(node, blobs().astype(np.uint8), affine, [SegmentSpec("a", "a", (9, 9, 9), (1,), "")])
    assert node.CreateClosedSurfaceRepresentation()
    theirs = node.GetSegmentation().GetSegment("a").GetRepresentation(CLOSED_SURFACE)
    surface = make_surface(blobs(), affine)
    assert surface is not None
    ours = finish(poly_data(surface))
    for found, expected in (
        (ours.GetPoints().GetData(), theirs.GetPoints().GetData()),
        (ours.GetPointData().GetNormals(), theirs.GetPointData().GetNormals()),
        (ours.GetPolys().GetConnectivityArray(), theirs.GetPolys().GetConnectivityArray()),
    ):
        np.testing.assert_allclose(vtk_to_numpy(found), vtk_to_numpy(expected), atol=2e-3)
    slicer.mrmlScene.RemoveNode(node)


def test_saved_moved_and_read_again(tmp_path: Path) -> None:
    assert make_surface(np.zeros((4, 4, 4), bool), np.eye(4)) is None
    assert Surface.load(tmp_path, 0) is None
    made = make_surface(blobs(), TILTED)
    assert made is not None
    made.save(tmp_path, 0)
    read = Surface.load(tmp_path, 0)
    assert read is not None
    np.testing.assert_array_equal(read.triangles, made.triangles)
    turn = np.array([[0, -1, 0, 4], [1, 0, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1.0]])
    expected = make_surface(blobs(), turn @ TILTED)
    assert expected is not None
    np.testing.assert_allclose(read.moved(turn).points, expected.points, atol=1e-3)
    np.testing.assert_allclose(read.moved(turn).normals, expected.normals, atol=2e-3)
