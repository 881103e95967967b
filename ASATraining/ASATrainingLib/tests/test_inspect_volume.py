"""Tab Inspect, when another volume is selected while the engine is running."""

from __future__ import annotations

import slicer

from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import bent_transform, import_scene, wait_for
from ASATrainingLib.tests.test_inspect import InspectTestCase


class TestAnotherVolume(InspectTestCase):
    """An answer belongs to the volume that was asked about."""

    def test_the_volume_stays_when_another_scene_is_added(self) -> None:
        import_scene()
        self.assertEqual(self.tab.volume, self.volume)

    def test_an_answer_is_not_laid_over_another_volume(self) -> None:
        unusable = add_head("unusable")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
        transform.SetAndObserveTransformToParent(bent_transform())
        unusable.SetAndObserveTransformNodeID(transform.GetID())
        self.begin()
        self.controls.volumeSelector.setCurrentNode(unusable)
        self.runner.process.finish()
        wait_for(
            lambda: (
                not self.tab.inspections.running and self.tab.inspections._loading is None and self.tab._arrival is None
            )
        )
        self.assertIsNone(self.tab.shown.node("image"))
        self.controls.volumeSelector.setCurrentNode(self.volume)  # the answer was kept
        wait_for(lambda: self.tab.inspection is not None)
        self.assertTrue(self.tab.shown.node("image").GetName().startswith("T1"))
