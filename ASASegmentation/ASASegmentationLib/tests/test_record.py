"""What a correction needs stays with the segmentation: after saving and loading, an update, and an undo."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer

from ASASegmentationLib.results import record
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.scene import wait_for


class TestRecord(PanelTestCase):
    """The record and the images of a result."""

    def test_the_record_is_saved_and_loaded_with_the_scene(self) -> None:
        volume = self.add_proposed()
        node = self.segment()
        made = record.record_of(node)
        assert made is not None and made.startswith(b"record of")
        self.assertEqual(record.images_of(node), {"t1": volume})
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            assert slicer.util.saveScene(path)
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        self.assertEqual(record.record_of(node), made)
        self.assertEqual([one.GetName() for one in record.images_of(node).values()], ["T1"])

    def test_undo_removes_it(self) -> None:
        self.add_proposed()
        self.segment()
        self.assertEqual(self.count("vtkMRMLTextNode"), 1)
        self.undo()
        self.assertEqual(self.count("vtkMRMLTextNode"), 0)

    def test_an_update_replaces_it_and_its_undo_brings_it_back(self) -> None:
        self.add_proposed()
        node = self.segment()
        before = record.record_of(node)
        text = record.record_node(node)
        assert text is not None
        text.SetText("bm90aGluZw==")
        self.ui.outputSelector.setCurrentNode(node)
        self.segment()
        self.assertEqual(record.record_of(node), before)
        self.assertEqual(self.count("vtkMRMLTextNode"), 1)
        self.undo()
        self.assertEqual(record.record_of(node), b"nothing")

    def test_a_record_that_is_gone_or_damaged_is_none(self) -> None:
        self.add_proposed()
        node = self.segment()
        text = record.record_node(node)
        assert text is not None
        text.SetText("no base 64!")
        self.assertIsNone(record.record_of(node))
        slicer.mrmlScene.RemoveNode(text)
        self.assertIsNone(record.record_of(node))
        volume = next(iter(record.images_of(node).values()))
        slicer.mrmlScene.RemoveNode(volume)
        wait_for(lambda: not record.images_of(node))
