"""The section Correct: the Segment Editor follows the result that the panel shows, and lets go of the views in time."""

from __future__ import annotations

from unittest import mock

import slicer

from ASASegmentationLib import correct_section
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.scene import wait_for


class TestCorrect(PanelTestCase):
    """The Segment Editor in the panel."""

    def setUp(self) -> None:
        patch = mock.patch.object(correct_section, "EFFECT", "Paint")  # ASA Refine would start the engine
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()

    @property
    def section(self) -> correct_section.CorrectSection:
        return self.panel.results.correct

    def test_it_is_there_once_there_is_a_result(self) -> None:
        self.assertFalse(self.section.section.visible)
        self.add_proposed()
        self.segment()
        self.assertTrue(self.section.section.visible)
        self.assertTrue(self.section.section.collapsed)
        self.assertIsNone(self.section.editor)

    def test_opening_it_edits_the_result(self) -> None:
        volume = self.add_proposed()
        node = self.segment()
        self.section.section.collapsed = False
        editor = self.section.editor
        parameters = editor.mrmlSegmentEditorNode()
        self.assertEqual(parameters.GetSegmentationNode(), node)
        self.assertEqual(parameters.GetSourceVolumeNode(), volume)
        self.assertEqual(parameters.GetActiveEffectName(), "Paint")
        self.section.section.collapsed = True
        self.assertEqual(parameters.GetActiveEffectName() or "", "")

    def test_leaving_the_module_leaves_the_effect_and_coming_back_returns_to_it(self) -> None:
        self.add_proposed()
        self.segment()
        self.section.set_shown(True)
        self.assertIsNone(self.section.editor)
        self.section.section.collapsed = False
        parameters = self.section.editor.mrmlSegmentEditorNode()
        self.section.set_shown(False)
        self.assertEqual(parameters.GetActiveEffectName() or "", "")
        self.section.set_shown(True)
        self.assertEqual(parameters.GetActiveEffectName(), "Paint")

    def test_a_new_segmentation_closes_it_and_another_result_is_followed(self) -> None:
        self.add_proposed()
        self.segment()
        self.section.section.collapsed = False
        self.start()
        self.assertTrue(self.section.section.collapsed)
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)
        self.section.section.collapsed = False
        newest = slicer.mrmlScene.GetNthNodeByClass(
            self.count("vtkMRMLSegmentationNode") - 1, "vtkMRMLSegmentationNode"
        )
        self.assertEqual(self.section.editor.mrmlSegmentEditorNode().GetSegmentationNode(), newest)

    def test_closing_the_scene_while_it_is_open(self) -> None:
        self.add_proposed()
        self.segment()
        self.section.section.collapsed = False
        slicer.mrmlScene.Clear(0)
        self.assertFalse(self.section.section.visible)
        self.add_proposed("again")
        node = self.segment()
        self.section.section.collapsed = False
        self.assertEqual(self.section.editor.mrmlSegmentEditorNode().GetSegmentationNode(), node)
