"""The .seg.nrrd file: segments lie where the label map's voxels lie, and carry names, colours and codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from asa.tasks import TISSUE, TUMOUR, Label, Region

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (extra 'slicer-core')")
vtk = pytest.importorskip("vtk")

from ASASegmentationLib.segments.build import SegmentSpec, add_segments, layers  # noqa: E402
from ASASegmentationLib.segments.segmentation_file import write_segmentation  # noqa: E402

ENGINE = Path(__file__).parents[2] / "ASASegmentation"
ROTATION = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.2, -0.3, 0.5))
SHEAR = np.array([[1, 0, 0.3, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def specs(items: tuple[Label, ...] | tuple[Region, ...]) -> list[SegmentSpec]:
    return [
        SegmentSpec(
            item.name,
            item.title,
            item.colour,
            item.values if isinstance(item, Region) else (item.value,),
            item.terminology.slicer_entry,
        )
        for item in items
    ]


def head(codes: str, world: np.ndarray) -> nibabel.Nifti1Image:
    """An asymmetric label map 1..4, anisotropic, stored in the axis order `codes`, moved by `world`."""
    labels = np.zeros((14, 18, 10), np.uint8)
    labels[2:5, 3:9, 1:4] = 1
    labels[5:9, 3:9, 1:4] = 2
    labels[5:9, 9:15, 2:8] = 3
    labels[9:12, 4:6, 8:9] = 4
    image = nibabel.Nifti1Image(labels, np.diag([1.0, 1.5, 3.0, 1.0]))
    target = nibabel.orientations.axcodes2ornt(tuple(codes))
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target))
    return nibabel.Nifti1Image(np.asarray(image.dataobj), world @ image.affine)


def run(folder: Path, image: nibabel.Nifti1Image, segments: list[SegmentSpec]) -> Path:
    nibabel.save(image, folder / "labels.nii.gz")
    output = folder / "out.seg.nrrd"
    write_segmentation(folder / "labels.nii.gz", output, "Head", segments)
    return output


def run_program(folder: Path, output: Path) -> subprocess.CompletedProcess[str]:
    nibabel.save(head("LAS", ROTATION), folder / "labels.nii.gz")
    request = {"labels": str(folder / "labels.nii.gz"), "output": str(output), "name": "Head"}
    text = json.dumps({**request, "segments": [vars(s) for s in specs(TISSUE.labels)]})
    command = [sys.executable, "-m", "ASASegmentationLib.segments.segmentation_file"]
    return subprocess.run(command, cwd=ENGINE, input=text, capture_output=True, encoding="utf-8", check=False)


def load(path: Path) -> slicer.vtkMRMLSegmentationNode:
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    node.scene_kept = scene  # a node without its scene is not whole
    return node


def world_of(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> np.ndarray:
    """Sorted RAS positions in mm, (n, 3), of the voxels of one segment."""
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    extent = image.GetExtent()
    shape = [extent[2 * i + 1] - extent[2 * i] + 1 for i in range(3)]
    scalars = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape, order="F")
    ijk = np.argwhere(scalars > 0) + extent[::2]
    return ordered(nibabel.affines.apply_affine(affine, ijk))


def ordered(points: np.ndarray) -> np.ndarray:
    points = points.round(3) + 0.0
    return points[np.lexsort(points.T)]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SRP", "PIR"])
@pytest.mark.parametrize("world", [np.eye(4), ROTATION, SHEAR], ids=["straight", "oblique", "sheared"])
def test_segments_lie_where_the_labels_lie(tmp_path: Path, codes: str, world: np.ndarray):
    image = head(codes, world)
    node = load(run(tmp_path, image, specs(TISSUE.labels)))
    labels = np.asarray(image.dataobj)
    for label in TISSUE.labels:
        expected = ordered(nibabel.affines.apply_affine(image.affine, np.argwhere(labels == label.value)))
        np.testing.assert_allclose(world_of(node, label.name), expected, atol=2e-3)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PIR"])
def test_grid_equals_the_scan_as_slicer_loads_it(tmp_path: Path, codes: str):
    node = load(run(tmp_path, head(codes, ROTATION), specs(TISSUE.labels)))
    scan = node.GetScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    reader = node.GetScene().AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    reader.SetFileName(str(tmp_path / "labels.nii.gz"))
    assert reader.ReadData(scan)
    expected, found = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    scan.GetIJKToRASMatrix(expected)
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image.GetImageToWorldMatrix(found)
    assert image.GetDimensions() == scan.GetImageData().GetDimensions()
    for i in range(4):
        for j in range(4):
            assert found.GetElement(i, j) == pytest.approx(expected.GetElement(i, j), abs=1e-3)


def test_names_colours_and_codes_survive_the_file(tmp_path: Path):
    node = load(run(tmp_path, head("RAS", np.eye(4)), specs(TISSUE.labels)))
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(i) for i in range(4)] == [label.name for label in TISSUE.labels]
    assert segmentation.GetNumberOfLayers() == 1
    for label in TISSUE.labels:
        segment = segmentation.GetSegment(label.name)
        assert segment.GetName() == label.title
        np.testing.assert_allclose(np.multiply(segment.GetColor(), 255), label.colour, atol=0.51)
        tag = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", tag)
        assert str(tag) == label.terminology.slicer_entry
        assert segment.GetLabelValue() == label.value


def test_nested_regions_overlap_on_layers_of_their_own(tmp_path: Path):
    image = head("LPS", ROTATION)
    node = load(run(tmp_path, image, specs(TUMOUR.regions)))
    assert node.GetSegmentation().GetNumberOfLayers() == 3
    labels = np.asarray(image.dataobj)
    for region in TUMOUR.regions:
        assert len(world_of(node, region.name)) == np.isin(labels, region.values).sum()


def test_a_segment_without_voxels_is_listed(tmp_path: Path):
    image = head("RAS", np.eye(4))
    empty = nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    assert load(run(tmp_path, empty, specs(TISSUE.labels))).GetSegmentation().GetNumberOfSegments() == 4


def test_layers_are_as_few_as_the_overlap_allows():
    assert [len(group) for group in layers(specs(TISSUE.labels))] == [4]
    assert [[s.id for s in group] for group in layers(specs(TISSUE.regions))] == [["CSF", "GM", "WM"], ["ventricles"]]


def test_a_taken_name_is_refused():
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    labels = np.ones((4, 4, 4), np.uint8)
    add_segments(node, labels, np.eye(4), specs(TISSUE.labels))
    with pytest.raises(ValueError, match="already has segments ventricles"):
        add_segments(node, labels, np.eye(4), specs(TISSUE.labels))


def test_the_program_writes_without_complaint(tmp_path: Path):
    done = run_program(tmp_path, tmp_path / "out.seg.nrrd")
    assert done.returncode == 0, done.stderr
    assert "ERR|" not in done.stderr
    assert load(tmp_path / "out.seg.nrrd").GetSegmentation().GetNumberOfSegments() == 4


def test_an_unwritable_output_is_one_sentence(tmp_path: Path):
    done = run_program(tmp_path, tmp_path / "no" / "out.seg.nrrd")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The segmentation could not be written to")
