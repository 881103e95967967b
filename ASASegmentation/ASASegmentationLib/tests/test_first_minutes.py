"""What a first user meets: an empty panel, a sample, a result that shows where to look, and the next steps."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import slicer

from ASASegmentationLib.segments import surface_job
from ASASegmentationLib.segments.surfaces import CLOSED_SURFACE
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for


def sample_data(download: Any) -> Any:
    """Replaces Slicer's module Sample Data, for nothing is downloaded in tests."""
    module = ModuleType("SampleData")
    module.downloadSamples = download  # type: ignore[attr-defined]
    return mock.patch.dict(sys.modules, {"SampleData": module})


class TestFirstMinutes(PanelTestCase):
    """Without knowing anything."""

    def test_an_empty_panel_says_what_to_load_and_offers_the_sample_of_the_task(self) -> None:
        self.assertIn("Load a scan first (T1)", self.ui.statusLabel.text)
        self.assertTrue(self.ui.sampleButton.isVisible())
        self.assertIn("4 MB", self.ui.sampleButton.toolTip)
        self.choose_task("tumour")
        self.assertIn("16 MB", self.ui.sampleButton.toolTip)
        self.add_proposed("pat_t1")
        self.assertFalse(self.ui.sampleButton.isVisible())
        slicer.mrmlScene.Clear(0)
        wait_for(self.ui.sampleButton.isVisible)

    def test_the_sample_is_loaded_and_suggested(self) -> None:
        asked = []

        def download(name: str) -> list[Any]:
            asked.append(name)
            return [add_head("MS_T1"), add_head("MS_FLAIR")]

        self.choose_task("wmh")
        with sample_data(download):
            self.ui.sampleButton.click()
        wait_for(lambda: self.ui.segmentButton.enabled)
        self.assertEqual(asked, ["MS_lesions"])
        self.assertEqual(self.parameters.volume("flair").GetName(), "MS_FLAIR")

    def test_a_sample_that_cannot_be_loaded_is_a_sentence(self) -> None:
        def no_network(_name: str) -> list[Any]:
            raise ValueError("Download failed for 3 attempts.")

        for download in (no_network, lambda _name: [], lambda _name: [None]):
            with sample_data(download):
                self.ui.sampleButton.click()
            self.assertIn("Is there an internet connection?", self.ui.statusLabel.text)
        with mock.patch.dict(sys.modules, {"SampleData": None}):
            self.ui.sampleButton.click()
        self.assertIn("no module Sample Data", self.ui.statusLabel.text)
        self.add_proposed()
        self.assertTrue(self.ui.segmentButton.enabled)

    def test_the_slices_are_moved_to_the_lesion(self) -> None:
        self.choose_task("tumour")
        moved = np.array([[-2.0, 0, 0, 190], [0, -2.0, 0, 75], [0, 0, 2.0, 22], [0, 0, 0, 1]])
        for name in ("pat_t1", "pat_t1ce", "pat_t2", "pat_flair"):
            add_head(name, moved)
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        view = slicer.vtkMRMLSliceNode()
        view.SetLayoutName("Test")
        view.SetSingletonTag("Test")
        view = slicer.mrmlScene.AddNode(view)
        view.SetOrientation("Axial")
        self.segment()
        shown = view.GetSliceOffset()
        slicer.mrmlScene.RemoveNode(view)
        self.assertLess(abs(shown - (22 + 2 * 19)), 6)

    def test_the_next_steps_are_said(self) -> None:
        self.add_proposed()
        self.segment()
        self.assertIn("Next: check the outlines", self.ui.statusLabel.text)


class TestMissingSurfaces(PanelTestCase):
    """Surfaces that are created when they are asked for."""

    def without_surfaces(self) -> slicer.vtkMRMLSegmentationNode:
        self.add_proposed()
        self.ui.surfacesCheckBox.setChecked(False)
        return self.segment()

    def surface(self, node: slicer.vtkMRMLSegmentationNode, key: str) -> Any:
        return node.GetSegmentation().GetSegment(key).GetRepresentation(CLOSED_SURFACE)

    def test_a_segment_edited_meanwhile_gets_its_new_surface(self) -> None:
        node = self.without_surfaces()
        self.ui.surfacesCheckBox.setChecked(True)
        wait_for(lambda: self.panel.logic.surfaces._job is None or self.panel.logic.surfaces._job.folder.exists())
        before = self.array(node, "GM").copy()
        self.erase(node, "GM")
        self.assertFalse(np.array_equal(before, self.array(node, "GM")))
        wait_for(lambda: not self.panel.logic.busy)
        bounds = self.surface(node, "GM").GetBounds()
        whole = self.surface(node, "ventricles").GetBounds()
        self.assertLess(bounds[3] - bounds[2], 0.7 * (whole[3] - whole[2]))

    def test_unticking_and_closing_the_scene_end_it(self) -> None:
        node = self.without_surfaces()
        self.ui.surfacesCheckBox.setChecked(True)
        self.ui.surfacesCheckBox.setChecked(False)
        self.assertFalse(self.ui.surfacesLabel.isVisible())
        wait_for(lambda: not self.panel.logic.busy)
        self.assertIsNone(self.surface(node, "GM"))
        self.ui.surfacesCheckBox.setChecked(True)
        slicer.mrmlScene.Clear(0)
        wait_for(lambda: not self.panel.logic.busy)

    def test_a_segmentation_removed_meanwhile_is_forgotten(self) -> None:
        node = self.without_surfaces()
        self.ui.surfacesCheckBox.setChecked(True)
        slicer.mrmlScene.RemoveNode(node)
        wait_for(lambda: not self.panel.logic.busy)
        self.assertFalse(self.ui.resultsSection.isVisible())

    def test_an_empty_segment_has_none(self) -> None:
        node = self.without_surfaces()
        segment, volume = node.GetSegmentation().GetSegment("GM"), self.parameters.volume("t1")
        assert volume is not None
        empty = np.zeros_like(slicer.util.arrayFromVolume(volume), np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(empty, node, "GM", volume)
        self.ui.surfacesCheckBox.setChecked(True)
        wait_for(lambda: not self.panel.logic.busy)
        self.assertEqual(segment.GetRepresentation(CLOSED_SURFACE).GetNumberOfPolys(), 0)
        self.assertGreater(self.surface(node, "WM").GetNumberOfPolys(), 0)

    def test_a_program_that_fails_is_a_sentence(self) -> None:
        self.without_surfaces()
        with mock.patch.object(surface_job.SurfaceJob, "prepare", side_effect=OSError(28, "No space left")):
            self.ui.surfacesCheckBox.setChecked(True)
            wait_for(lambda: not self.panel.logic.surfaces.running)
        self.assertIn("The surfaces could not be created", self.ui.surfacesLabel.text)
        self.assertIn("No space left", self.ui.surfacesLabel.text)
        self.assertTrue(self.ui.surfacesLabel.isVisible())
