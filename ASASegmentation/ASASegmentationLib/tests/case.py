"""What the tests of the panel share: an empty scene, a panel over it, the job a fake."""

from __future__ import annotations

import json
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from asa.tasks import TASKS
from ASASegmentationLib.logic import SegmentationLogic
from ASASegmentationLib.panel import Panel
from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.results import scene
from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASegmentationLib.tests.fakes import FakeRunner
from ASASlicerLib.tests.fakes import FakeDialogs, FakeInstaller, MemoryStore, add_head, nothing_missing
from ASASlicerLib.tests.scene import parameter_node, wait_for

UI_FILE = Path(__file__).parents[2] / "Resources" / "UI" / "ASASegmentation.ui"


class PanelTestCase(unittest.TestCase):
    """An empty scene, a panel over it, and a model of each task to choose."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        models = tempfile.TemporaryDirectory()
        self.addCleanup(models.cleanup)
        for task in TASKS.values():
            folder = Path(models.name) / f"test-{task.name}"
            folder.mkdir()
            required = [modality.key for modality in task.modalities if modality.required]
            info = {"format": 1, "name": folder.name, "task": task.name, "modalities": required, "network": {}}
            (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
            (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no tensor
            (folder / "CARD.md").write_text("# A test model", encoding="utf-8")
        # the models of the test are the defaults, although others ship
        ours = mock.patch("asa.models._ships", lambda _model: False)
        for patch in (mock.patch.dict(os.environ, {"ASA_MODELS": models.name}), ours):
            patch.start()
            self.addCleanup(patch.stop)
        self.runner, self.dialogs = FakeRunner(), FakeDialogs()
        self.installer: Any = FakeInstaller()
        self.store = MemoryStore()
        self.plan = nothing_missing
        self.open()

    def open(self) -> None:
        """Opens a panel, after closing the one before."""
        self.widget = slicer.util.loadUI(str(UI_FILE))
        logic = SegmentationLogic(slicer.mrmlScene, self.runner, self.dialogs.ask)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.panel = Panel(
            self.ui, logic, parameter_node, self.dialogs, self.installer, self.store, lambda wheels: self.plan(wheels)
        )
        self.widget.show()

    def tearDown(self) -> None:
        self.panel.close()
        self.widget.close()
        self.widget.deleteLater()
        slicer.mrmlScene.Clear(0)

    @property
    def parameters(self) -> Parameters:
        return Parameters(parameter_node())

    def choose_task(self, name: str) -> None:
        self.ui.taskComboBox.setCurrentIndex(self.ui.taskComboBox.findData(name))

    def add_proposed(self, name: str = "T1") -> slicer.vtkMRMLScalarVolumeNode:
        """Adds a head and waits until it is proposed."""
        volume = add_head(name)
        wait_for(self.parameters.volumes)
        return volume

    def start(self) -> None:
        """Clicks Segment and waits for the process."""
        self.runner.process = None
        self.ui.segmentButton.click()
        wait_for(lambda: self.runner.process)

    def segment(self) -> slicer.vtkMRMLSegmentationNode:
        """Clicks Segment and lets the job end well."""
        self.start()
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        return slicer.mrmlScene.GetNthNodeByClass(
            slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") - 1, "vtkMRMLSegmentationNode"
        )

    def undo(self) -> None:
        """Clicks Undo and waits until all is as it was."""
        self.ui.undoButton.click()
        wait_for(lambda: not self.panel.logic.busy)

    def table(self, node: slicer.vtkMRMLSegmentationNode) -> tuple[list[str], list[list[str]]]:
        """Headings and rows of the table of volumes of a segmentation."""
        table = scene.volume_table(node)
        assert table is not None
        return scene.table_cells(table)

    def count(self, class_name: str) -> int:
        return slicer.mrmlScene.GetNumberOfNodesByClass(class_name)

    def array(self, node: slicer.vtkMRMLSegmentationNode, segment: str) -> np.ndarray:
        volume = next(iter(self.parameters.volumes().values()))
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)

    def erase(self, node: slicer.vtkMRMLSegmentationNode, segment: str) -> None:
        """What a user does with the eraser: takes half of a segment away."""
        volume = next(iter(self.parameters.volumes().values()))
        array = self.array(node, segment).copy()
        array[:, : array.shape[1] // 2] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, volume)

    def stray_labels(self, node: slicer.vtkMRMLSegmentationNode) -> set[int]:
        """Label values in the images of a segmentation that belong to none of the segments stored in that image.

        Slicer paints such voxels in an arbitrary colour, in each slice view.
        """
        segmentation = node.GetSegmentation()
        owned: dict[vtk.vtkImageData, set[int]] = {}
        for key in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(key)
            image = segment.GetRepresentation(BINARY_LABELMAP)
            owned.setdefault(image, set()).add(segment.GetLabelValue())
        strays: set[int] = set()
        for image, values in owned.items():
            scalars = image.GetPointData().GetScalars()
            strays |= set(np.unique(vtk_to_numpy(scalars)).tolist()) - values - {0} if scalars is not None else set()
        return strays
