"""A real head, the real module, the real job: from loading to the saved scene and back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import slicer
import vtk

from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASlicerLib.table import fill_table
from ASASlicerLib.volumes import ijk_to_ras

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
_PATIENCE_S = 900.0


@pytest.fixture
def panel() -> Iterator[Any]:
    slicer.mrmlScene.Clear(0)
    module = driving.open_module("ASASegmentation")
    panel = module.widgetRepresentation().self().panel
    fill_table(panel.ui.volumesTable, ["a"], [["b"]], [(1, 1, 1)])  # PySide takes long to describe what is used first
    yield panel
    module.close()
    slicer.mrmlScene.Clear(0)


def in_large_image(path: Path, folder: Path) -> str:
    """An image file with the contents of another in 256 x 256 x 256 voxels, which is what the GUI is timed with."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(path)
    before = [(256 - size) // 2 for size in image.shape]
    around = [(start, 256 - size - start) for start, size in zip(before, image.shape, strict=True)]
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    nibabel.save(nibabel.Nifti1Image(np.pad(np.asarray(image.dataobj), around), affine), folder / path.name)
    return str(folder / path.name)


@pytest.fixture
def head(panel: Any, data_root: Path, tmp_path: Path) -> Any:
    """A head stored left-handed, which Slicer flips as it reads it: what is matched by index comes out mirrored."""
    path = data_root / "malf" / "1006" / "1006_SS.nii.gz"
    volume = slicer.util.loadVolume(in_large_image(path, tmp_path))
    driving.wait_for(lambda: panel.ui.segmentButton.enabled, 20)
    return volume


def segment(panel: Any) -> float:
    """Clicks and waits; returns the longest that the GUI thread was busy, in s, the click included."""
    started = time.thread_time()
    panel.ui.segmentButton.click()
    clicked = time.thread_time() - started
    assert panel.logic.running, panel.ui.statusLabel.text
    busy = max(clicked, driving.wait_for(lambda: not panel.logic.running, _PATIENCE_S))
    assert "Done" in panel.ui.statusLabel.text, panel.ui.statusLabel.text + panel.ui.logText.plainText
    return busy


def jobs() -> list[str]:
    """Command lines of the engines that this process or its children started. Linux only."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are listed from /proc")
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[folder.name] = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            commands[folder.name] = (folder / "cmdline").read_text().replace("\0", " ")
    family = {str(os.getpid())}
    while new := {child for child, parent in parents.items() if parent in family} - family:
        family |= new
    return [command for process, command in commands.items() if process in family and "asa.jobs.resident" in command]


def array(node: Any, key: str, volume: Any) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, key, volume) != 0


def test_from_a_loaded_head_to_a_scene_read_again(panel: Any, head: Any, data_root: Path, tmp_path: Path) -> None:
    busy = segment(panel)
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["ventricles", "GM", "WM", "sulcal CSF"]
    matrix = vtk.vtkMatrix4x4()
    segmentation.GetSegment("GM").GetRepresentation(BINARY_LABELMAP).GetImageToWorldMatrix(matrix)
    found = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(found, ijk_to_ras(head), atol=1e-3)

    assert node.GetDisplayNode().GetVisibility3D() and segmentation.ContainsRepresentation(CLOSED_SURFACE)

    # Against the manual labels, read by the same reader: an error of left and right or up and down would show.
    labels = data_root / "malf" / "1006" / "1006_classified.nii.gz"
    manual = slicer.util.loadLabelVolume(in_large_image(labels, tmp_path))
    truth = slicer.util.arrayFromVolume(manual)
    for key, value in (("GM", 2), ("WM", 3)):
        ours = array(node, key, head)
        assert 2 * (ours & (truth == value)).sum() / (ours.sum() + (truth == value).sum()) > 0.75, key
        assert 300 < ours.sum() / 1000 < 1100  # mL
    driving.report("a head of 256 x 256 x 256 voxels, from the click to its segments and surfaces", busy)

    edited = array(node, "GM", head)
    edited[: edited.shape[0] // 2] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), node, "GM", head)
    panel.ui.outputSelector.setCurrentNode(node)
    driving.report("the same once more, its segments brought up to date", segment(panel))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    np.testing.assert_array_equal(array(node, "GM", head), edited)
    panel.ui.outputSelector.setCurrentNode(None)

    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    driving.wait_for(lambda: panel.ui.modalitySelector0.currentNode() is not None, 20)
    head = panel.ui.modalitySelector0.currentNode()
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    np.testing.assert_array_equal(array(node, "GM", head), edited)


def test_cancel_half_way(panel: Any, head: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.segmentButton.click()
    driving.wait_for(lambda: panel.ui.progressBar.value > 10, _PATIENCE_S)
    assert jobs()
    panel.ui.segmentButton.click()
    driving.wait_for(lambda: not jobs(), 20)
    driving.wait_for(lambda: not panel.logic.busy, 20)
    assert not list(tmp_path.glob("asa-*"))
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_importing_the_modules_is_quick_and_light() -> None:
    code = (
        "import sys, driving, slicer, standin_application, standin_modules, time\n"
        "standin_application.start()\n"
        "for name in ('ASASegmentation', 'ASATraining'):\n"
        "    before = time.process_time()\n"
        "    module = standin_modules.load_module(driving.REPOSITORY / name / f'{name}.py')\n"
        "    took = time.process_time() - before\n"
        "    driving.report(f'importing {name}', took)\n"
        "    assert not {'torch', 'nibabel', 'scipy', 'SimpleITK', 'asa.nn'} & set(sys.modules), name\n"
        "    module.widgetRepresentation()\n"
        "    assert not {'torch', 'nibabel', 'scipy', 'SimpleITK', 'asa.nn'} & set(sys.modules), name\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "Testing" / "standin")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    sys.stderr.write(done.stderr)
