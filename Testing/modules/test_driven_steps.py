"""How long each step of the segmentation module keeps the GUI thread busy, with views that follow the scene.

The engine's answer is prepared here, so that the measurement takes seconds; surfaces are created in a process of their
own, as always. `Testing.benchmarks.gui` collects what is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import slicer
from standin_live_views import LiveViews

from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASegmentationLib.tests.fakes import FakeJob
from ASASlicerLib.process import PythonRunner
from ASASlicerLib.table import fill_table

pytestmark = pytest.mark.slow

_SIZE, _PATIENCE_S = 256, 300.0


class PreparedRunner:
    """Answers for the engine; other programs run."""

    def __init__(self, python_path: Path) -> None:
        self.job: FakeJob | None = None
        self._programs = PythonRunner(python_path)

    def start(self, arguments: Sequence[str], folder: Path) -> Any:
        if "asa.jobs.segment" not in arguments:
            return self._programs.start(arguments, folder)
        self.job = FakeJob(folder)
        return self.job


def add_folded_head(name: str) -> Any:
    """A head of 256 x 256 x 256 voxels of 1 mm in shells with folds, to have surfaces as large as a cortex's."""
    axis = np.linspace(-1.2, 1.2, _SIZE, dtype=np.float32)
    k, j, i = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    folds = 0.05 * (np.sin(22 * i) * np.cos(20 * j) + np.sin(24 * k) * np.cos(22 * i))
    radius = np.sqrt((i / 0.8) ** 2 + (j / 0.95) ** 2 + (k / 0.85) ** 2) + folds
    shells = [radius < edge for edge in (0.3, 0.75, 0.9, 1.0)]
    array = np.select(shells, [250, 180, 120, 60], 0).astype(np.int16)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, array)
    volume.CreateDefaultDisplayNodes()
    return volume


class Driven:
    """The panel, its runner and views, and what is measured with them."""

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.runner = PreparedRunner(driving.REPOSITORY / "ASASegmentation")
        panel.logic._runner = self.runner
        self.views: LiveViews | None = None

    def measure(self, what: str, work: Any, until: Any = None) -> None:
        """Reports the longest that something and what follows from it kept the GUI thread busy."""
        drawn = self.views.drawn if self.views is not None else 0
        longest = driving.busy(work, self.views)
        if until is not None:
            longest = max(longest, driving.wait_for(until, _PATIENCE_S, self.views))
        longest = max(longest, driving.wait_for(lambda: not self.panel.logic.busy, _PATIENCE_S, self.views))
        driving.report(f"{what}, views drawn {self.views.drawn - drawn} times" if self.views else what, longest)

    def segment(self, what: str) -> Any:
        """Clicks, lets the engine answer, and waits for the result."""
        self.runner.job = None
        self.measure_start(what)
        assert self.runner.job is not None
        self.runner.job.finish()
        self.measure(f"{what}: from the engine's result to segments and surfaces", lambda: None, self.done)
        driving.wait_for(lambda: not self.panel.logic.busy, _PATIENCE_S)
        return self.panel._outcome.node

    def measure_start(self, what: str) -> None:
        longest = driving.busy(self.panel.ui.segmentButton.click, self.views)
        longest = max(longest, driving.wait_for(lambda: self.runner.job, _PATIENCE_S, self.views))
        driving.report(f"{what}: the click, and handing the scan to the engine", longest)

    def done(self) -> bool:
        """Whether the job has ended well."""
        assert not self.panel._failure, self.panel._failure
        return not self.panel.logic.running


@pytest.fixture
def driven() -> Iterator[Driven]:
    slicer.mrmlScene.Clear(0)
    module = driving.open_module("ASASegmentation")
    found = Driven(module.widgetRepresentation().self().panel)
    # PySide takes long to describe what is used first
    fill_table(found.panel.ui.volumesTable, ["a"], [["b"]], [(1, 1, 1)])
    yield found
    if found.views is not None:
        found.views.close()
    module.close()
    slicer.mrmlScene.Clear(0)


def test_each_step(driven: Driven) -> None:
    ui = driven.panel.ui
    volume = add_folded_head("T1")
    driven.measure("suggesting a volume", lambda: None, lambda: ui.segmentButton.enabled)
    driven.views = LiveViews(volume)
    node = driven.segment("the first segmentation")
    segmentation = node.GetSegmentation()
    assert segmentation.ContainsRepresentation(CLOSED_SURFACE) and node.GetDisplayNode().GetVisibility3D()

    edited = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", volume).copy()
    edited[: _SIZE // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, "GM", volume)
    shown = ui.volumesTable.item(1, 1).text()
    driven.measure("measuring an edited segment", lambda: None, lambda: ui.volumesTable.item(1, 1).text() != shown)
    driven.measure("choosing the segmentation as output", lambda: ui.outputSelector.setCurrentNode(node))
    driven.segment("an update with a kept segment")
    driven.measure("undoing it", ui.undoButton.click)

    driven.measure("hiding the surfaces", lambda: ui.surfacesCheckBox.setChecked(False))
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    made = lambda: segmentation.ContainsRepresentation(CLOSED_SURFACE)  # noqa: E731
    driven.measure("creating missing surfaces", lambda: ui.surfacesCheckBox.setChecked(True), made)
    tumour = ui.taskComboBox.findData("tumour")
    driven.measure("choosing another task", lambda: ui.taskComboBox.setCurrentIndex(tumour))
    driven.measure("changing a setting", lambda: ui.alignCheckBox.setChecked(False))
