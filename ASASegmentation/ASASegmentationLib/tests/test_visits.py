"""Two visits in the panel: choosing the earlier one, comparing, and what is shown of the change."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ASASegmentationLib.tests.case import PanelTestCase
from ASASegmentationLib.visits.section import VisitsSection
from ASASlicerLib.tests.clipping import clipped
from ASASlicerLib.tests.fakes import add_head, head_array
from ASASlicerLib.tests.scene import wait_for

_LESION = (slice(14, 17), slice(22, 25), slice(30, 34))  # K, J, I


class TestVisits(PanelTestCase):
    """The section below the results."""

    @property
    def section(self) -> VisitsSection:
        return self.panel.visits

    def two_visits(self, task: str = "tissue", kind: str = "T1") -> tuple[Any, Any]:
        """The later volume, chosen for the task, in which something became brighter; and the earlier one."""
        self.choose_task(task)
        later = self.add_proposed(f"{kind} second")
        array = head_array()
        array[_LESION] += 40
        slicer.util.updateVolumeFromArray(later, array)
        earlier = add_head(f"{kind} first")
        self.ui.modalitySelector0.setCurrentNode(later)
        wait_for(lambda: self.section.ui.visitsSection.visible)
        self.section.ui.visitsSection.collapsed = False
        return earlier, later

    def compare(self) -> None:
        """Clicks Compare and waits for the process."""
        self.runner.process = None
        self.section.ui.compareButton.click()
        wait_for(lambda: self.runner.process)

    def end(self) -> None:
        self.runner.process.finish()
        wait_for(lambda: not self.section.logic.running)

    def changed(self) -> slicer.vtkMRMLSegmentationNode:
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        self.assertIsNotNone(node)
        return node

    def test_it_appears_with_a_second_volume(self) -> None:
        self.add_proposed()
        self.assertFalse(self.section.ui.visitsSection.visible)
        self.two_visits()
        self.assertFalse(self.section.ui.compareButton.enabled)
        self.assertIn("Choose the T1 of the earlier visit", self.section.ui.compareStatusLabel.text)

    def test_the_same_volume_cannot_be_both_visits(self) -> None:
        _earlier, later = self.two_visits()
        self.section.ui.earlier0Selector.setCurrentNode(later)
        self.assertFalse(self.section.ui.compareButton.enabled)
        self.assertIn("is selected for both visits", self.section.ui.compareStatusLabel.text)

    def test_an_earlier_volume_that_is_no_image(self) -> None:
        earlier, _later = self.two_visits()
        slicer.util.updateVolumeFromArray(earlier, head_array()[:1])
        self.section.ui.earlier0Selector.setCurrentNode(earlier)
        self.assertIn("is a single slice", self.section.ui.compareStatusLabel.text)
        self.assertFalse(self.section.ui.compareButton.enabled)

    def test_change_of_tissue_is_shown_over_the_later_scan(self) -> None:
        earlier, later = self.two_visits()
        self.section.ui.earlier0Selector.setCurrentNode(earlier)
        self.compare()
        self.assertEqual(self.section.ui.compareButton.text, "Cancel")
        self.assertFalse(self.ui.segmentButton.enabled)
        self.runner.process.say(event="progress", stage="visit 1: network", fraction=0.4)
        wait_for(lambda: "earlier visit" in self.section.ui.compareStatusLabel.text)
        self.runner.process.doubts = ("The two visits could not be registered well.",)
        self.end()
        node = self.changed()
        self.assertEqual(list(node.GetSegmentation().GetSegmentIDs()), ["gained"])
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "gained", later)
        expected = np.zeros(found.shape, bool)
        expected[_LESION] = True
        np.testing.assert_array_equal(found != 0, expected)
        table = self.section.ui.changesTable
        self.assertEqual([table.item(0, column).text() for column in range(3)], ["All of it", "+9.5", "increase"])
        self.assertEqual(table.item(1, 1).text(), "")
        self.assertFalse(self.section.ui.lesionsTable.visible)
        self.assertIn("Do not use this comparison unchecked", self.section.ui.compareStatusLabel.text)
        self.assertIn("thick slices", self.section.ui.compareStatusLabel.text)
        self.assertTrue(self.ui.segmentButton.enabled)
        self.assertIs(self.parameters.volume("t1"), later)
        self.assertEqual(self.count("vtkMRMLTableNode"), 1)
        pair = [slicer.mrmlScene.GetFirstNodeByName(f"T1 second {which} visit") for which in ("earlier", "later")]
        shown = [vtk_to_numpy(one.GetImageData().GetPointData().GetScalars()) for one in pair]
        self.assertTrue((shown[1] >= shown[0]).all() and shown[1].sum() > shown[0].sum())

    def test_lesions_are_listed_and_shown_by_a_click(self) -> None:
        earlier, _later = self.two_visits("wmh", "FLAIR")
        self.section.ui.earlier0Selector.setCurrentNode(earlier)
        self.compare()
        self.end()
        table = self.section.ui.lesionsTable
        self.assertTrue(table.visible)
        self.assertEqual([table.item(0, column).text() for column in range(3)], ["New", "0.00", "1.00"])
        self.assertIn("1 new", self.section.ui.lesionsLabel.text)
        view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
        view.SetLayoutName("Red")
        self.section._go_to(0, 0)
        centre = [(part.start + part.stop - 1) / 2 for part in _LESION][::-1]
        expected = [-2 * centre[0], -2 * centre[1], 2 * centre[2]]
        at = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        self.assertAlmostEqual(at[2], expected[2], places=3)

    def test_an_earlier_result_fills_in_its_volumes(self) -> None:
        first = self.add_proposed("T1 first")
        node = self.segment()
        later = add_head("T1 second")
        self.ui.modalitySelector0.setCurrentNode(later)
        wait_for(lambda: self.section.ui.visitsSection.visible)
        self.section.ui.earlierResultSelector.setCurrentNode(node)
        self.assertIs(self.section.ui.earlier0Selector.currentNode(), first)
        self.assertTrue(self.section.ui.compareButton.enabled)

    def test_cancelling_and_failing_leave_the_scene_as_it_was(self) -> None:
        earlier, _later = self.two_visits()
        self.section.ui.earlier0Selector.setCurrentNode(earlier)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.compare()
        self.section.ui.compareButton.click()
        self.assertTrue(self.runner.process.stopped)
        self.assertIn("Cancelled", self.section.ui.compareStatusLabel.text)
        self.compare()
        self.runner.process.say(event="error", message="The two visits do not fit.", exit_code=3)
        self.runner.process.end(3)
        wait_for(lambda: not self.section.logic.running)
        self.assertIn("The two visits do not fit.", self.section.ui.compareStatusLabel.text)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_nothing_is_clipped_in_a_narrow_dock(self) -> None:
        earlier, _later = self.two_visits("wmh", "sub-01_ses-02_acq-iso_run-01_rec-norm_FLAIR_with_a_very_long_name")
        for state in ("incomplete", "ready", "running", "done"):
            if state == "ready":
                self.section.ui.earlier0Selector.setCurrentNode(earlier)
            elif state == "running":
                self.compare()
            elif state == "done":
                self.runner.process.doubts = ("the two visits do not seem to show the same head " * 3,)
                self.end()
            for _round in range(3):  # labels that wrap need more than one
                self.widget.resize(350, 1000)
                slicer.app.processEvents()
            with self.subTest(state=state):
                self.assertLessEqual(self.widget.width, 350)
                self.assertEqual(clipped(self.widget), [])

    def test_closing_the_scene_while_visits_are_compared(self) -> None:
        earlier, _later = self.two_visits()
        self.section.ui.earlier0Selector.setCurrentNode(earlier)
        self.compare()
        slicer.mrmlScene.Clear(0)
        self.assertFalse(self.section.logic.running)
        self.assertTrue(self.runner.process.stopped)
        self.assertFalse(self.section.ui.visitsSection.visible)
