"""Odd scenes: a sentence in the panel or a right result, and a scene that is otherwise unchanged."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk

from ASASegmentationLib.results import scene
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for

_ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


class TestBadInput(PanelTestCase):
    """Scenes that users bring along."""

    def test_fifty_volumes(self) -> None:
        for number in range(49):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"series {number}")
            slicer.util.updateVolumeFromArray(node, np.full((8, 8, 8), number, np.int16))
        volume = add_head("Sag T1 MPRAGE")
        wait_for(self.parameters.volumes)
        chosen = self.parameters.volume("t1")
        self.assertEqual(chosen.GetID() if chosen is not None else "", volume.GetID())

    def test_two_volumes_of_one_name(self) -> None:
        add_head("T1")
        second = add_head("T1", np.diag([2.0, 2.0, 2.0, 1.0]))
        self.ui.modalitySelector0.setCurrentNode(second)
        node = self.segment()
        self.assertEqual(node.GetNodeReference(_ROLE).GetID(), second.GetID())
        another = self.segment()
        self.assertNotEqual(node.GetName(), another.GetName())

    def test_a_volume_of_a_sequence_shows_another_image_during_the_job(self) -> None:
        volume = self.add_proposed()
        shown = slicer.util.arrayFromVolume(volume).copy()
        self.start()
        later = vtk.vtkImageData()
        later.DeepCopy(volume.GetImageData())
        volume.SetAndObserveImageData(later)  # what a sequence browser does with its proxy node
        slicer.util.arrayFromVolume(volume)[:] = 0
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        np.testing.assert_array_equal(self.array(node, "GM") != 0, shown == 120)

    def test_a_folder_that_cannot_be_written(self) -> None:
        self.add_proposed()
        self.segment()
        kinds = ("vtkMRMLSegmentationNode", "vtkMRMLVolumeNode", "vtkMRMLTableNode", "vtkMRMLStorageNode")
        before = [self.count(kind) for kind in kinds]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "file").touch()
            for name in ("a.seg.nrrd", "a.nii.gz", "a.csv", "a.png"):
                self.dialogs.file = str(Path(folder) / "file" / name)
                self.ui.exportButton.click()
                self.assertIn("cannot be written", self.dialogs.messages[-1], name)
        self.assertEqual([self.count(kind) for kind in kinds], before)

    def test_a_scene_of_another_version(self) -> None:
        volume = self.add_proposed()
        node = self.segment()
        for attribute, value in {"ASA.rows": "not json", "ASA.task": "of a later version"}.items():
            node.SetAttribute(attribute, value)
        parameters = self.parameters.node
        for name, value in {"task": "of a later version", "model": "elsewhere", "threshold": "much"}.items():
            parameters.SetParameter(name, value)
        self.panel.close()
        self.open()
        self.assertEqual(self.parameters.settings.task, "tissue")
        self.assertTrue(self.ui.resultsSection.isVisible())
        self.assertEqual(scene.rows_of(node), [])
        self.erase(node, "GM")
        slicer.app.processEvents()
        self.assertEqual(self.parameters.volume("t1"), volume)

    def test_a_table_that_was_deleted(self) -> None:
        self.add_proposed()
        node = self.segment()
        table = scene.volume_table(node)
        assert table is not None
        slicer.mrmlScene.RemoveNode(table)
        self.panel.show_parameters()
        self.assertFalse(self.ui.resultsSection.isVisible())
        self.ui.outputSelector.setCurrentNode(node)
        self.segment()
        self.assertTrue(self.ui.resultsSection.isVisible())
