"""A user's edits survive another run, an update, an undo, and the scene being saved."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import slicer

from ASASegmentationLib.results import scene
from ASASegmentationLib.segments.build import TERMINOLOGY_TAG
from ASASegmentationLib.segments.edits import segment_tag
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.scene import parameter_node, wait_for


class TestEdits(PanelTestCase):
    """A grey matter that a user has erased half of."""

    def setUp(self) -> None:
        super().setUp()
        self.add_proposed()
        self.node = self.segment()
        self.erase(self.node, "GM")
        self.edited = self.array(self.node, "GM").copy()

    def test_a_second_run_makes_a_new_node_by_default(self) -> None:
        self.segment()
        self.assertEqual(self.count("vtkMRMLSegmentationNode"), 2)
        np.testing.assert_array_equal(self.array(self.node, "GM"), self.edited)

    def test_an_update_keeps_what_was_edited_removed_or_renamed(self) -> None:
        segmentation = self.node.GetSegmentation()
        segmentation.RemoveSegment("sulcal CSF")
        segmentation.GetSegment("WM").SetName("my name")
        self.ui.outputSelector.setCurrentNode(self.node)
        self.segment()
        self.assertEqual(self.count("vtkMRMLSegmentationNode"), 1)
        np.testing.assert_array_equal(self.array(self.node, "GM"), self.edited)
        self.assertIsNone(segmentation.GetSegment("sulcal CSF"))
        self.assertEqual(segmentation.GetSegment("WM").GetName(), "my name")
        self.assertIn("Grey matter", self.ui.statusLabel.text)
        headings, rows = self.table(self.node)
        received = {row[0]: row[headings.index("mL")] for row in rows}
        # no sum of what is not there
        self.assertEqual(set(received), {"Ventricular CSF", "Grey matter", "White matter"})
        self.assertEqual(received["Grey matter"], f"{8 * np.count_nonzero(self.edited) / 1000:.1f}")  # voxels of 2 mm

    def test_an_update_leaves_no_label_of_a_kept_or_removed_segment_behind(self) -> None:
        self.node.GetSegmentation().RemoveSegment("sulcal CSF")
        self.ui.outputSelector.setCurrentNode(self.node)
        self.segment()
        self.assertEqual(self.stray_labels(self.node), set())
        self.undo()
        self.assertEqual(self.stray_labels(self.node), set())

    def test_an_update_and_its_undo_keep_how_a_segment_is_shown(self) -> None:
        display, segment = self.node.GetDisplayNode(), lambda: self.node.GetSegmentation().GetSegment("WM")
        properties = {
            "Visibility": False, "Visibility3D": False, "Visibility2DFill": False, "Visibility2DOutline": False,
            "Opacity3D": 0.3, "Opacity2DFill": 0.4, "Opacity2DOutline": 0.5, "Pickable": False,
        }  # fmt: skip
        for name, value in properties.items():
            getattr(display, f"SetSegment{name}")("WM", value)
        display.SetSegmentOverrideColor("WM", 0.1, 0.2, 0.3)
        terminology = segment_tag(segment(), TERMINOLOGY_TAG).replace("White Matter", "My white matter")
        segment().SetTag(TERMINOLOGY_TAG, terminology)
        segment().SetTag("Note", "mine")
        segment().SetTag("Segmentation.Status", "completed")
        self.ui.outputSelector.setCurrentNode(self.node)
        for act in (self.segment, self.undo):
            act()
            for name, value in properties.items():
                self.assertEqual(getattr(display, f"GetSegment{name}")("WM"), value, name)
            self.assertEqual(tuple(display.GetSegmentOverrideColor("WM")), (0.1, 0.2, 0.3))
            self.assertEqual(segment_tag(segment(), TERMINOLOGY_TAG), terminology)
            self.assertEqual(segment_tag(segment(), "Note"), "mine")
            undone = not self.ui.undoButton.enabled
            self.assertEqual(segment_tag(segment(), "Segmentation.Status"), "completed" if undone else "")
        self.assertTrue(display.GetRemoveUnusedDisplayProperties())

    def test_undo_takes_an_update_back(self) -> None:
        before = self.array(self.node, "WM").copy()
        volume = self.parameters.volume("t1")
        assert volume is not None
        slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume)[::-1] // 2 + 5)
        volume.Modified()
        table = self.table(self.node)
        scene.set_warnings(self.node, ["of the first run"], [])
        self.ui.outputSelector.setCurrentNode(self.node)
        self.segment()
        self.assertTrue((self.array(self.node, "WM") != before).any())
        self.assertNotEqual(self.table(self.node), table)
        self.undo()
        self.assertEqual(self.table(self.node), table)
        self.assertIn("Of the first run", self.ui.warningText.text)
        np.testing.assert_array_equal(self.array(self.node, "WM") != 0, before != 0)
        np.testing.assert_array_equal(self.array(self.node, "GM"), self.edited)
        self.assertFalse(self.ui.undoButton.enabled)

    def test_undo_takes_a_new_segmentation_back(self) -> None:
        nodes = self.count("vtkMRMLSegmentationNode")
        self.segment()
        self.undo()
        self.assertEqual(self.count("vtkMRMLSegmentationNode"), nodes)

    def test_segments_of_others_are_asked_about(self) -> None:
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
        other.CreateDefaultDisplayNodes()
        volume = self.parameters.volume("t1")
        other.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        other.GetSegmentation().AddEmptySegment("GM", "my grey matter")
        slicer.util.updateSegmentBinaryLabelmapFromArray(self.edited.astype(np.uint8), other, "GM", volume)
        self.ui.outputSelector.setCurrentNode(other)
        self.dialogs.answer = False
        self.segment()
        self.assertIn("did not create: my grey matter.", self.dialogs.messages[-1])
        np.testing.assert_array_equal(self.array(other, "GM"), self.edited)
        self.assertIn("my grey matter", self.ui.statusLabel.text)
        self.dialogs.answer = True
        self.segment()
        self.assertTrue((self.array(other, "GM") != self.edited).any())
        self.undo()
        np.testing.assert_array_equal(self.array(other, "GM") != 0, self.edited != 0)

    def test_the_table_follows_the_segment_editor(self) -> None:
        edited = f"{8 * np.count_nonzero(self.edited) / 1000:.1f}"  # voxels of 2 mm
        wait_for(lambda: self.shown_volumes().get("Grey matter") == edited)
        self.assertNotIn("All", self.shown_volumes())  # no sum of what has changed
        self.node.GetSegmentation().RemoveSegment("WM")
        wait_for(lambda: "White matter" not in self.shown_volumes())
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
        self.node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        self.erase(self.node, "ventricles")
        ventricles = f"{8 * np.count_nonzero(self.array(self.node, 'ventricles')) / 1000:.1f}"
        wait_for(lambda: self.shown_volumes().get("Ventricular CSF") == ventricles)
        self.assertEqual(self.shown_volumes()["Grey matter"], edited)

    def test_an_edit_that_is_taken_back_brings_the_measurements_back(self) -> None:
        wait_for(lambda: "All" not in self.shown_volumes())
        volume = self.parameters.volume("t1")
        assert volume is not None
        whole = (slicer.util.arrayFromVolume(volume) == 120).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(whole, self.node, "GM", volume)
        wait_for(lambda: "All" in self.shown_volumes())

    def shown_volumes(self) -> dict[str, str]:
        """Structure -> mL, as the panel shows them."""
        table = self.ui.volumesTable
        rows = [[table.item(row, column).text() for column in range(2)] for row in range(table.rowCount)]
        return dict(rows)

    def test_an_earlier_result_is_not_drawn_over(self) -> None:
        self.segment()
        display = self.node.GetDisplayNode()
        self.assertFalse(display.GetVisibility())
        self.assertIn(f"Hidden, because it shows the same scan: {self.node.GetName()}.", self.ui.statusLabel.text)
        self.undo()
        self.assertTrue(display.GetVisibility())

    def test_a_reopened_scene_shows_its_result(self) -> None:
        for selected in (False, True):
            self.ui.outputSelector.setCurrentNode(self.node if selected else None)
            scene.set_warnings(self.node, ["hardly any brain"], ["thick slices"])
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "scene.mrb")
                self.assertTrue(slicer.util.saveScene(path))
                self.panel.close()
                slicer.mrmlScene.Clear(0)
                self.open()  # another session
                self.assertFalse(self.ui.resultsSection.isVisible())
                slicer.util.loadScene(path)
            self.assertIn("Do not use", self.ui.warningTitle.text)
            self.assertTrue(self.ui.warningFrame.isVisible() and self.ui.resultsSection.isVisible())
            self.assertIn("Grey matter", self.shown_volumes())
            node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            assert node is not None
            self.node = node

    def test_a_result_of_a_scene_without_settings_is_shown(self) -> None:
        node = parameter_node()
        slicer.mrmlScene.RemoveNode(node)
        self.panel.close()
        self.open()
        self.assertTrue(self.ui.resultsSection.isVisible())

    def test_scene_saved_and_read_again(self) -> None:
        self.ui.outputSelector.setCurrentNode(self.node)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
            wait_for(lambda: self.parameters.segmentation is not None)
            node = self.parameters.segmentation
            assert node is not None
            self.node = node
            self.assertEqual(self.ui.modalitySelector0.currentNode().GetName(), "T1")
            self.assertEqual(self.ui.volumesTable.rowCount, 5)
            self.assertIn("Thick slices", self.ui.warningText.text)
            self.segment()
        np.testing.assert_array_equal(self.array(self.node, "GM") != 0, self.edited != 0)
        self.assertIn("Grey matter", self.ui.statusLabel.text)
