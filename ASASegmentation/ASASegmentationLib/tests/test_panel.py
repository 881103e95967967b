"""The panel, driven: clicks on one side, segments in the scene on the other."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import slicer
import vtk

from asa.tasks import TASKS
from ASASegmentationLib.segments.build import BINARY_LABELMAP
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.nifti import read_nifti
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASASlicerLib.volumes import ijk_to_ras


class TestSegmenting(PanelTestCase):
    """From the click to the scene."""

    def test_segments_have_names_colours_codes_and_the_grid_of_the_scan(self) -> None:
        tilted = np.array([[-2.0, 0.1, 0, 40], [0.1, -2.0, 0.2, 30], [0, 0.2, 2.0, -50], [0, 0, 0, 1]])
        volume = add_head("T1", tilted)
        wait_for(self.parameters.volumes)
        node = self.segment()
        task = TASKS["tissue"]
        segmentation = node.GetSegmentation()
        self.assertEqual(list(segmentation.GetSegmentIDs()), [label.name for label in task.labels])
        for label in task.labels:
            segment = segmentation.GetSegment(label.name)
            self.assertEqual(segment.GetName(), label.title)
            np.testing.assert_allclose(np.multiply(segment.GetColor(), 255), label.colour, atol=1e-6)
            value = vtk.reference("")
            self.assertTrue(segment.GetTag("TerminologyEntry", value))
            self.assertIn(label.terminology.type.value, str(value))
            image = segment.GetRepresentation(BINARY_LABELMAP)
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            found = [matrix.GetElement(i, j) for i in range(4) for j in range(4)]
            np.testing.assert_allclose(found, ijk_to_ras(volume).ravel(), atol=1e-4)
        array, image = self.array(node, "GM"), slicer.util.arrayFromVolume(volume)
        np.testing.assert_array_equal(array != 0, image == 120)
        self.assertTrue(self.ui.warningFrame.isVisible())
        self.assertIn("Thick slices.", self.ui.warningText.text)

    def test_doubts_come_first(self) -> None:
        self.add_proposed()
        self.start()
        self.runner.process.doubts = ["no brain to be seen", "thick slices"]
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        self.assertIn("Do not use", self.ui.warningTitle.text)
        self.assertEqual(self.ui.warningText.text, "• No brain to be seen.\n• Thick slices.")
        self.start()
        self.assertFalse(self.ui.warningFrame.isVisible())

    def test_volumes_are_shown_and_kept_in_the_scene(self) -> None:
        self.add_proposed()
        node = self.segment()
        self.assertEqual(self.ui.volumesTable.rowCount, 5)
        self.assertEqual(self.table(node)[0][0], "Structure")
        self.assertTrue(self.ui.resultsSection.isVisible())

    def test_names_of_structures_are_whole_in_a_narrow_panel(self) -> None:
        self.add_proposed()
        self.widget.resize(350, 900)
        self.segment()
        table, metrics = self.ui.volumesTable, self.ui.volumesTable.fontMetrics()
        slicer.app.processEvents()
        self.assertEqual(self.widget.width, 350)
        for row in range(table.rowCount):
            name = table.item(row, 0)
            self.assertGreater(table.columnWidth(0), metrics.horizontalAdvance(name.text()) + 12, name.text())
        self.assertTrue(table.isColumnHidden(5))
        self.assertIn("L mL: 1.0", table.item(0, 0).toolTip())
        self.widget.resize(900, 900)
        slicer.app.processEvents()
        self.assertFalse(table.isColumnHidden(5))

    def test_nested_regions_and_separate_parts(self) -> None:
        self.choose_task("tumour")
        for name in ("pat_t1", "pat_t1ce", "pat_t2", "pat_flair"):
            add_head(name)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        node = self.segment()
        display = node.GetDisplayNode()
        shown = lambda: {s for s in node.GetSegmentation().GetSegmentIDs() if display.GetSegmentVisibility(s)}  # noqa: E731
        self.assertEqual(shown(), {"WT", "TC", "ET"})
        self.ui.viewComboBox.setCurrentIndex(1)
        self.assertEqual(shown(), {"NCR", "ED", "ET"})
        self.segment()
        self.assertEqual(self.ui.viewComboBox.currentIndex, 0)  # of the new segmentation
        self.ui.outputSelector.setCurrentNode(node)
        self.undo()
        self.assertEqual(self.ui.viewComboBox.currentIndex, 1)

    def test_the_grid_can_be_chosen_where_there_are_several(self) -> None:
        self.ui.advancedSection.collapsed = False
        self.assertFalse(self.ui.referenceComboBox.isVisible())
        self.choose_task("tumour")
        self.assertTrue(self.ui.referenceComboBox.isVisible())

    def test_the_result_belongs_to_the_volume_that_shows_the_task_best_or_is_chosen(self) -> None:
        self.choose_task("tumour")
        for name in ("pat_t1", "pat_t1ce", "pat_t2", "pat_flair"):
            add_head(name)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        self.assertEqual(self.segment().GetNodeReference(role).GetName(), "pat_t1ce")
        self.ui.referenceComboBox.setCurrentIndex(self.ui.referenceComboBox.findData("t2"))
        self.assertEqual(self.segment().GetNodeReference(role).GetName(), "pat_t2")

    def test_outlines_and_surfaces_are_shown(self) -> None:
        self.add_proposed()
        for wanted in (True, False):
            self.ui.surfacesCheckBox.setChecked(wanted)
            node = self.segment()
            display = node.GetDisplayNode()
            self.assertTrue(display.GetVisibility2DOutline() and display.GetVisibility())
            self.assertEqual(bool(display.GetVisibility3D()), wanted)
            self.assertEqual(node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE), wanted)
        self.ui.surfacesCheckBox.setChecked(True)  # now they have to be created
        self.assertEqual(self.ui.surfacesLabel.text, "Creating surfaces…")
        wait_for(lambda: not self.panel.logic.busy)
        self.assertFalse(self.ui.surfacesLabel.isVisible())
        surface = node.GetSegmentation().GetSegment("GM").GetRepresentation(CLOSED_SURFACE)
        self.assertTrue(display.GetVisibility3D() and surface.GetNumberOfPolys() > 1000)

    def test_surfaces_stay_through_an_update_and_its_undo(self) -> None:
        self.add_proposed()
        node = self.segment()
        self.ui.outputSelector.setCurrentNode(node)
        segment = lambda: node.GetSegmentation().GetSegment("GM")  # noqa: E731
        first = segment().GetRepresentation(CLOSED_SURFACE).GetNumberOfPolys()
        self.segment()
        self.assertEqual(segment().GetRepresentation(CLOSED_SURFACE).GetNumberOfPolys(), first)
        self.undo()
        self.assertEqual(segment().GetRepresentation(CLOSED_SURFACE).GetNumberOfPolys(), first)

    def test_how_to_segment_reaches_the_engine_and_is_remembered(self) -> None:
        self.add_proposed()
        self.ui.thresholdSpinBox.setValue(0.35)
        self.ui.ttaComboBox.setCurrentIndex(self.ui.ttaComboBox.findData("on"))
        self.start()
        request = json.loads((self.runner.process.folder / "request.json").read_text(encoding="utf-8"))
        found = {key: request[key] for key in ("threshold", "tta", "reference", "task")}
        self.assertEqual(found, {"threshold": 0.35, "tta": True, "reference": "t1", "task": "tissue"})
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        self.panel.close()
        self.open()
        self.assertAlmostEqual(self.ui.thresholdSpinBox.value, 0.35)

    def test_time_augmentation_is_the_models_choice_or_the_users(self) -> None:
        self.add_proposed()
        box = self.ui.ttaComboBox
        self.assertEqual([box.itemData(row) for row in range(box.count)], ["model", "on", "off"])
        self.assertIn("Model default", box.itemText(0))
        for value, sent in (("model", None), ("on", True), ("off", False)):
            box.setCurrentIndex(box.findData(value))
            self.start()
            request = json.loads((self.runner.process.folder / "request.json").read_text(encoding="utf-8"))
            self.assertIs(request["tta"], sent)
            self.runner.process.finish()
            wait_for(lambda: not self.panel.logic.running)

    def test_a_scene_of_an_older_version_keeps_its_choice(self) -> None:
        for old, now in (("true", "on"), ("false", "model")):
            self.parameters.node.UnsetParameter("tta")
            self.parameters.node.SetParameter("flip", old)
            self.assertEqual(self.parameters.settings.tta, now)
        self.parameters.node.SetParameter("flip", "true")
        self.parameters.settings = replace(self.parameters.settings, tta="model")
        self.assertEqual(self.parameters.settings.tta, "model", "what was chosen since counts")

    def test_a_model_that_is_not_on_this_computer_gives_way_to_the_one_that_is_shown(self) -> None:
        self.add_proposed()
        self.parameters.settings = replace(self.parameters.settings, model="from elsewhere")
        self.start()
        request = json.loads((self.runner.process.folder / "request.json").read_text(encoding="utf-8"))
        self.assertEqual((request["model"], self.ui.modelComboBox.currentIndex), ("test-tissue", 0))
        self.assertIn("from elsewhere is not installed on this computer", self.ui.logText.plainText)

    def test_volumes_on_other_grids_are_resampled_and_said(self) -> None:
        self.choose_task("tumour")
        moved = np.array([[-2.0, 0, 0, 9], [0, -2.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])
        for name in ("pat_t1", "pat_t1ce", "pat_t2", "pat_flair"):
            add_head(name, moved if name == "pat_t2" else None)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        node = self.segment()
        said = self.ui.logText.plainText
        self.assertIn("pat_t2 is not on the grid of pat_t1ce and will be resampled.", said)
        self.assertEqual(said.count("will be resampled"), 1)
        self.assertGreater(self.array(node, "WT").sum(), 0)

    def test_voxels_changed_while_they_are_read_are_noticed(self) -> None:
        volume = self.add_proposed()
        self.ui.segmentButton.click()
        slicer.util.arrayFromVolume(volume)[:] = 7
        slicer.util.arrayFromVolumeModified(volume)
        wait_for(lambda: not self.panel.logic.running)
        self.assertIn("changed", self.ui.statusLabel.text)

    def test_the_button_cancels_while_a_job_runs(self) -> None:
        self.add_proposed()
        self.start()
        self.assertEqual(self.ui.segmentButton.text, "Cancel")
        self.assertTrue(self.ui.progressBar.isVisible())

    def test_the_scan_may_be_renamed_and_moved_meanwhile(self) -> None:
        volume = self.add_proposed()
        self.start()
        volume.SetName("renamed")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        volume.SetAndObserveTransformNodeID(transform.GetID())
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        self.assertTrue(node.GetName().startswith("renamed"))
        self.assertEqual(node.GetTransformNodeID(), transform.GetID())

    def test_the_scan_may_be_hardened_or_removed_meanwhile(self) -> None:
        volume = self.add_proposed()
        self.start()
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        matrix.SetElement(0, 3, 33.0)
        volume.SetIJKToRASMatrix(matrix)
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        np.testing.assert_array_equal(self.array(node, "GM") != 0, slicer.util.arrayFromVolume(volume) == 120)
        self.start()
        slicer.mrmlScene.RemoveNode(volume)
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        self.assertEqual(self.count("vtkMRMLSegmentationNode"), 2)

    def test_cancel_leaves_the_scene_as_it_was(self) -> None:
        self.add_proposed()
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.start()
        process = self.runner.process
        self.ui.segmentButton.click()
        self.assertTrue(process.stopped)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertEqual(self.ui.segmentButton.text, "Segment")
        wait_for(lambda: not process.folder.exists())

    def test_closing_the_scene_or_the_panel_ends_the_job(self) -> None:
        self.add_proposed()
        self.start()
        slicer.mrmlScene.Clear(0)
        self.assertTrue(self.runner.process.stopped)
        self.add_proposed()
        self.start()
        self.panel.close()
        self.assertTrue(self.runner.process.stopped)
        self.open()

    def test_a_result_that_was_removed_is_not_told_of_any_more(self) -> None:
        self.add_proposed()
        node = self.segment()
        self.assertIn("Done", self.ui.statusLabel.text)
        slicer.mrmlScene.RemoveNode(node)
        wait_for(lambda: "Done" not in self.ui.statusLabel.text)
        self.assertFalse(self.ui.resultsSection.isVisible())

    def test_a_panel_that_was_closed_writes_nothing_more(self) -> None:
        volume = self.add_proposed()
        old = self.widget
        self.panel.close()
        self.open()
        self.choose_task("wmh")
        self.ui.ttaComboBox.setCurrentIndex(self.ui.ttaComboBox.findData("off"))
        slicer.mrmlScene.RemoveNode(volume)  # the hidden selectors of a module that was reloaded notice it too
        old.close()
        self.assertEqual((self.parameters.settings.task, self.parameters.settings.tta), ("wmh", "off"))

    def test_a_crash_and_an_error_are_sentences(self) -> None:
        self.add_proposed()
        before = slicer.mrmlScene.GetNumberOfNodes()
        for code, words in ((-9, "memory"), (-11, "unexpectedly")):
            self.start()
            self.runner.process.end(code)
            wait_for(lambda: not self.panel.logic.running)
            self.assertIn(words, self.ui.statusLabel.text)
        self.start()  # in Slicer the launcher of Python stands in between
        self.runner.process.complain("error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem.")
        self.runner.process.end(1)
        wait_for(lambda: not self.panel.logic.running)
        self.assertIn("memory ran out", self.ui.statusLabel.text)
        self.start()
        self.runner.process.say(event="error", message="This is no brain.", exit_code=3)
        self.runner.process.end(3)
        wait_for(lambda: not self.panel.logic.running)
        self.assertEqual(self.ui.statusLabel.text, "This is no brain.")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_a_full_disk_is_a_sentence(self) -> None:
        self.add_proposed()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("ASASlicerLib.volumes.write_nifti", side_effect=full):
            self.ui.segmentButton.click()
            wait_for(lambda: not self.panel.logic.running)
        self.assertIn("No space left", self.ui.statusLabel.text)

    def test_results_that_cannot_be_read_are_a_sentence(self) -> None:
        self.add_proposed()
        self.start()
        self.runner.process.end(0)
        wait_for(lambda: not self.panel.logic.running)
        self.assertIn("could not be read", self.ui.statusLabel.text)
        self.assertEqual(self.count("vtkMRMLSegmentationNode"), 0)

    def test_probability_volumes_lie_on_the_scan(self) -> None:
        volume = self.add_proposed()
        self.ui.posteriorCheckBox.setChecked(True)
        self.segment()
        extra = slicer.mrmlScene.GetFirstNodeByName("T1 uncertainty")
        np.testing.assert_allclose(ijk_to_ras(extra), ijk_to_ras(volume), atol=1e-4)
        np.testing.assert_allclose(
            slicer.util.arrayFromVolume(extra), slicer.util.arrayFromVolume(volume) / 250.0, atol=1e-5
        )
        self.undo()
        self.assertEqual(self.count("vtkMRMLScalarVolumeNode"), 1)

    def test_the_segmentation_lies_in_the_study_of_its_scan(self) -> None:
        volume = self.add_proposed()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
        study = hierarchy.CreateStudyItem(subject, "study")
        item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(study, volume)
        hierarchy.SetItemParent(item, study)
        node = self.segment()
        self.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)), study)

    def test_export(self) -> None:
        self.add_proposed()
        self.segment()
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.seg.nrrd", "a.nii", "a.nii.gz", "a.csv", "a.png"):
                self.dialogs.file = str(Path(folder) / name)
                self.ui.exportButton.click()
                self.assertTrue(Path(self.dialogs.file).is_file(), name)
            plain, packed = (finish(read_nifti(Path(folder) / name)) for name in ("a.nii", "a.nii.gz"))
            np.testing.assert_array_equal(plain[0], packed[0])
            self.assertEqual((Path(folder) / "a.nii.gz").read_bytes()[:2], b"\x1f\x8b")
            self.dialogs.file = str(Path(folder) / "a.txt")
            self.ui.exportButton.click()
            self.assertIn(".seg.nrrd", self.dialogs.messages[-1])
