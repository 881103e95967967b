"""Tab Inspect: requests, results in the scene, clicks on patches, scrubbing, invalid input."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from asa.models import list_models
from ASASlicerLib.proposal.propose import usable_volumes
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASASlicerLib.volumes import ijk_to_ras
from ASATrainingLib.inspect.inspection import Inspection
from ASATrainingLib.inspect.patches import Attention, Patches
from ASATrainingLib.inspect.scene import ERROR_SD
from ASATrainingLib.layouts import SLICE_VIEWS, slice_view
from ASATrainingLib.tests.case import PanelTestCase, report, write_run
from ASATrainingLib.tests.fake_inspections import GRID, FakeInspection, FakeInspectionRunner, write_checkpoint

TILTED = np.array([[-2.0, 0.1, 0, 40], [0.1, -2.0, 0.2, 30], [0, 0.2, 2.0, -50], [0, 0, 0, 1]])


class InspectTestCase(PanelTestCase):
    """A panel with a run of three checkpoints and a head in the scene."""

    def setUp(self) -> None:
        super().setUp()
        self.close()
        self.runner = FakeInspectionRunner()
        self.open()
        run = write_run(self.folder / "run")
        for step in (10, 20, 30):
            write_checkpoint(run / "checkpoints" / f"step_{step:06d}.safetensors", step)
        self.logic.open_run(run)
        self.panel.ui.tabWidget.setCurrentIndex(list(self.panel.tabs).index("Inspect model"))
        self.tab = self.panel.tabs["Inspect model"]
        self.controls = self.tab.ui
        self.volume = add_head("T1", TILTED)
        self.controls.volumeSelector.setCurrentNode(self.volume)

    def begin(self, button: Any = None) -> None:
        self.runner.process = None
        (button or self.controls.inspectButton).click()
        wait_for(lambda: self.runner.process)

    def look(self, button: Any = None) -> None:
        """Clicks and lets the engine answer."""
        before = self.tab.inspection
        self.begin(button)
        self.runner.process.finish()
        wait_for(lambda: self.tab.inspection is not before and not self.tab.inspections.running)

    def choose_mask(self, value: str) -> None:
        self.controls.maskComboBox.setCurrentIndex(self.controls.maskComboBox.findData(value))

    def array(self, name: str) -> np.ndarray:
        return slicer.util.arrayFromVolume(self.tab.shown.node(name))

    def shows(self, view: int) -> tuple[str, str, str]:
        """Which parts a view shows: background, foreground, label."""
        composite = slice_view(slicer.mrmlScene, SLICE_VIEWS[view])[1]
        ids = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID())
        nodes = [slicer.mrmlScene.GetNodeByID(node) if node else None for node in ids]
        names = [(node.GetAttribute("ASA.look") or "scan") if node is not None else "" for node in nodes]
        return names[0], names[1], names[2]

    def count_of_run(self) -> int:
        """Return the number of checkpoints of the run, without installed models."""
        return self.controls.checkpointComboBox.count - len(self.tab._extra)

    def click_patch(self, points: Any, patch: int) -> None:
        """What a click into a view at the middle of a patch does."""
        world = vtk.vtkMatrix4x4()
        transform = self.volume.GetParentTransformNode()
        if transform is not None:
            transform.GetMatrixTransformToWorld(world)
        centre = world.MultiplyPoint([*self.tab.inspection.patches.centre(patch), 1.0])
        points.make().AddControlPointWorld(list(centre[:3]))


class TestLooking(InspectTestCase):
    """From the click to four views."""

    def test_what_is_asked(self) -> None:
        self.controls.ratioSpinBox.setValue(60)
        self.controls.seedSpinBox.setValue(4)
        self.choose_mask("brain")
        self.controls.strippedCheckBox.setChecked(True)
        self.begin()
        process = self.runner.process
        self.assertEqual([Path(model).stem for model in process.models], ["step_000030"])
        self.assertEqual((process.value("--ratio"), process.value("--seed")), ("0.6000", "4"))
        for word in ("--brain-only", "--stripped", "--align", "--attention", "--json"):
            self.assertIn(word, process.arguments)
        self.assertEqual(process.value("--mask"), "")

    def test_the_answer_lies_on_the_scan(self) -> None:
        self.look()
        self.assertEqual(self.controls.statusLabel.text, "Done.")
        for name in ("image", "hidden", "reconstruction", "error", "importance"):
            np.testing.assert_allclose(ijk_to_ras(self.tab.shown.node(name)), ijk_to_ras(self.volume), atol=1e-4)
        scan = slicer.util.arrayFromVolume(self.volume)
        np.testing.assert_allclose(self.array("image"), scan / 100, atol=1e-5)
        hidden = self.array("hidden") > 0
        np.testing.assert_allclose(self.array("reconstruction"), scan / 100 + hidden, atol=1e-5)
        self.assertTrue(self.tab.shown.node("hidden").IsA("vtkMRMLLabelMapVolumeNode"))
        display = self.tab.shown.node("error").GetDisplayNode()
        self.assertEqual(display.GetWindowLevelMax(), ERROR_SD)
        self.assertTrue(display.GetApplyThreshold())
        proposed = usable_volumes(slicer.mrmlScene)  # never what a model made of a scan
        self.assertEqual([volume.GetID() for volume in proposed], [self.volume.GetID()])

    def test_four_linked_views(self) -> None:
        self.look()
        left = [("scan", "importance", ""), ("image", "", "hidden")]
        right = [("image", "reconstruction", ""), ("image", "error", "")]
        self.assertEqual([self.shows(view) for view in range(4)], left + right)
        views = [slice_view(slicer.mrmlScene, name) for name in SLICE_VIEWS]
        self.assertTrue(all(composite.GetLinkedControl() for _view, composite in views))
        self.controls.blendSlider.setValue(40)
        self.assertAlmostEqual(views[2][1].GetForegroundOpacity(), 0.4)
        self.controls.overlayComboBox.setCurrentIndex(self.controls.overlayComboBox.findData("error"))
        self.assertEqual(self.shows(0)[1], "error")

    def test_under_the_transform_and_in_the_study_of_the_scan(self) -> None:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        self.volume.SetAndObserveTransformNodeID(transform.GetID())
        self.look()
        self.assertEqual(self.tab.shown.node("error").GetTransformNodeID(), transform.GetID())

    def test_a_second_look_uses_the_nodes_again(self) -> None:
        self.look()
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        self.controls.seedSpinBox.setValue(1)
        self.assertIn("run the inspection again", self.controls.statusLabel.text)
        self.look()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)

    def test_cancel_and_close(self) -> None:
        self.begin()
        self.assertEqual(self.controls.inspectButton.text, "Cancel")
        self.runner.process.say(event="progress", stage="aligning", fraction=0.4)
        wait_for(lambda: self.controls.progressBar.value == 400)
        self.assertIn("Aligning", self.controls.statusLabel.text)
        self.controls.inspectButton.click()
        self.assertTrue(self.runner.process.stopped)
        self.assertEqual(self.controls.inspectButton.text, "Inspect")
        self.look()
        folder = self.tab.inspections._folder
        self.assertTrue(folder.is_dir())
        self.tab.inspections.close()
        self.assertFalse(folder.exists())

    def test_the_scene_remembers_the_choices(self) -> None:
        self.controls.seedSpinBox.setValue(7)
        self.choose_mask("brain")
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            self.assertIsNone(self.tab.volume)
            slicer.util.loadScene(path)
        self.assertEqual(self.tab.volume.GetName(), "T1")
        self.assertEqual((self.controls.seedSpinBox.value, self.tab._mask), (7, "brain"))
        self.volume = self.tab.volume
        self.look()


class TestScrubbing(InspectTestCase):
    """Through the checkpoints of a run."""

    def test_all_checkpoints_are_there_at_once(self) -> None:
        self.look(self.controls.inspectAllButton)
        self.assertEqual(len(self.runner.process.models), 3)
        self.runner.process = None
        means = []
        for index in (0, 1, 2):
            before = self.tab.inspection
            self.controls.checkpointSlider.setValue(index)
            if index < 2:
                wait_for(lambda before=before: self.tab.inspection is not before)  # type: ignore[misc]
            means.append(self.array("error").max())
        self.assertIsNone(self.runner.process)
        np.testing.assert_allclose(means[:2], [1.0, 0.5])
        self.assertEqual(self.controls.checkpointComboBox.currentIndex, 2)
        self.assertGreaterEqual(self.controls.numbersTable.rowCount, 2)

    def test_what_was_not_looked_at_is_told(self) -> None:
        self.look()
        self.controls.checkpointSlider.setValue(0)
        self.assertIn("run the inspection again", self.controls.statusLabel.text)
        self.begin()
        self.assertEqual([Path(model).stem for model in self.runner.process.models], ["step_000010"])

    def test_a_changed_volume_or_checkpoint_is_another_question(self) -> None:
        self.look()
        request, checkpoint = self.tab.request(), self.tab.checkpoint
        self.assertTrue(self.tab.inspections.known(self.volume, request, checkpoint))
        write_checkpoint(checkpoint.path, 31)
        past = time.time() - 100
        os.utime(checkpoint.path, (past, past))
        self.assertFalse(self.tab.inspections.known(self.volume, request, checkpoint))

    def test_new_checkpoints_of_a_running_run_are_listed(self) -> None:
        write_checkpoint(self.folder / "run" / "checkpoints" / "last.safetensors", 40)
        self.logic.run_state_changed(self.logic.current_run)
        self.assertEqual(self.count_of_run(), 4)
        self.assertIn("Step 40 (last)", self.controls.checkpointComboBox.itemText(3))
        self.assertEqual(self.tab.checkpoint.step, 30)


class TestPatches(InspectTestCase):
    """Clicks on patches."""

    def test_patches_are_hidden_and_shown_by_clicks(self) -> None:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        transform.SetMatrixTransformToParent(matrix)
        self.volume.SetAndObserveTransformNodeID(transform.GetID())
        self.choose_mask("drawn")
        self.assertFalse(self.controls.drawButton.enabled)
        self.assertIn("without hidden patches", self.controls.statusLabel.text)
        self.look()
        self.assertFalse(self.array("hidden").any())
        self.controls.drawButton.setChecked(True)
        for patch in (5, 9, 22):
            self.click_patch(self.tab.tools.clicked, patch)
        wait_for(lambda: "3 of 64" in self.controls.hiddenLabel.text)
        self.click_patch(self.tab.tools.clicked, 9)
        wait_for(lambda: "2 of 64" in self.controls.hiddenLabel.text)
        self.assertEqual(self.tab.tools.clicked.node.GetNumberOfControlPoints(), 0)
        patches = self.tab.inspection.patches
        np.testing.assert_array_equal(self.array("hidden") > 0, np.isin(patches.numbers - 1, (5, 22)))
        self.look()
        self.assertTrue(self.runner.process.value("--mask"))
        self.assertNotIn("--ratio", self.runner.process.arguments)
        np.testing.assert_array_equal(self.array("hidden") > 0, np.isin(patches.numbers - 1, (5, 22)))
        np.testing.assert_array_equal(self.array("error") > 0, self.array("hidden") > 0)
        self.controls.clearButton.click()
        self.assertFalse(self.array("hidden").any())

    def test_another_tool_may_draw_too(self) -> None:
        self.choose_mask("drawn")
        self.look()
        before = self.tab.request()
        array = self.array("hidden")
        array[self.tab.inspection.patches.numbers == 12] = 1
        slicer.util.arrayFromVolumeModified(self.tab.shown.node("hidden"))
        after = self.tab.request()
        self.assertNotEqual(before.drawn, after.drawn)
        self.assertEqual(np.flatnonzero(np.unpackbits(np.frombuffer(after.drawn, np.uint8))).tolist(), [11])

    def test_clicks_outside_do_nothing(self) -> None:
        self.choose_mask("drawn")
        self.look()
        self.tab.tools.clicked.make().AddControlPointWorld([900.0, 0.0, 0.0])
        self.tab.poll()
        self.assertFalse(self.array("hidden").any())

    def test_attention_of_a_patch_and_its_mirror_partner(self) -> None:
        self.look()
        self.assertIn("Choose a patch", self.controls.patchLabel.text)
        self.click_patch(self.tab.tools.chosen, 20)
        wait_for(lambda: self.tab.shown.node("attention") is not None)
        patches, attention = self.tab.inspection.patches, self.array("attention")
        values = [attention[patches.numbers == patch + 1].max() for patch in range(64)]
        np.testing.assert_array_equal(np.flatnonzero(values), [20, 23, 27])  # its windows end at 23 and, shifted, at 27
        self.assertEqual(self.shows(0)[1], "attention")
        self.assertEqual(patches.place(20), (1, 1, 0))
        self.assertEqual(patches.mirror(20), 23)
        self.assertIn("12.5 % to its mirror partner (1, 1, 3)", self.controls.patchLabel.text)
        position = [0.0] * 3
        self.tab.tools.partner.node.GetNthControlPointPositionWorld(0, position)
        np.testing.assert_allclose(position, patches.centre(23), atol=1e-3)
        self.controls.blockComboBox.setCurrentIndex(2)
        self.controls.headComboBox.setCurrentIndex(2)
        attention = self.array("attention")
        self.assertEqual([attention[patches.numbers == patch + 1].max() for patch in (23, 27)], [0.0, 0.25])

    def test_a_moved_point_is_followed(self) -> None:
        self.look()
        self.click_patch(self.tab.tools.chosen, 20)
        wait_for(lambda: "(1, 1, 0)" in self.controls.patchLabel.text)
        centre = self.tab.inspection.patches.centre(0)
        self.tab.tools.chosen.node.SetNthControlPointPositionWorld(0, *map(float, centre))
        wait_for(lambda: "Patch (0, 0, 0)" in self.controls.patchLabel.text)
        self.assertEqual(self.tab.inspection.patches.grid, GRID)

    def test_a_large_scan_holds_nothing_up(self) -> None:
        """A click on a patch of a scan of 256 x 256 x 192 voxels."""
        array = np.ones((192, 256, 256), np.int16)
        slicer.util.updateVolumeFromArray(self.volume, array)
        self.controls.volumeSelector.setCurrentNode(self.volume)
        self.choose_mask("drawn")
        numbers = np.broadcast_to(np.arange(192)[:, None, None] // 3 % 64 + 1, array.shape).astype(np.int32)
        patches = Patches(numbers, GRID, np.eye(4), True)
        volumes = dict.fromkeys(("image", "importance", "hidden", "reconstruction", "error"), array)
        (self.folder / "look").mkdir()
        FakeInspection([], self.folder).write_attention(self.folder / "look", 64)
        answer = Inspection(volumes, np.eye(4), patches, np.ones(64, bool), {}, Attention(self.folder / "look"))
        self.timed("the answer of a large scan", lambda: self.tab._on_inspection(answer))
        self.assertIs(self.tab.inspection, answer)
        for points in (self.tab.tools.clicked, self.tab.tools.chosen):
            self.tab.tools.hide_nothing()
            self.timed("a click on a patch of it", lambda points=points: self.click_patch(points, 21))
            hidden = [21] if points is self.tab.tools.clicked else []
            self.assertEqual(np.flatnonzero(self.tab.tools.hidden(self.volume)).tolist(), hidden)
        self.assertIsNotNone(self.tab.shown.node("attention"))

    def timed(self, what: str, act: Any) -> None:
        """Act and poll until the inspection is loaded, and print the longest step."""
        started = time.thread_time()
        act()
        longest = time.thread_time() - started
        for _poll in range(8):
            started = time.thread_time()
            self.tab.poll()
            longest = max(longest, time.thread_time() - started)
        report(what, longest)


class TestBadInput(InspectTestCase):
    """What cannot be is a sentence."""

    def test_volumes_and_models_that_are_none(self) -> None:
        self.controls.volumeSelector.setCurrentNode(None)
        self.assertIn("Choose a T1", self.controls.statusLabel.text)
        self.assertFalse(self.controls.inspectButton.enabled)
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        self.controls.volumeSelector.setCurrentNode(empty)
        self.assertIn("no voxels", self.controls.statusLabel.text)
        self.controls.volumeSelector.setCurrentNode(self.volume)
        bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
        self.volume.SetAndObserveTransformNodeID(bent.GetID())
        self.tab._refresh()
        self.assertIn("non-linear", self.controls.statusLabel.text)

    def test_damaged_checkpoints_are_left_out(self) -> None:
        checkpoint = self.folder / "run" / "checkpoints" / "last.safetensors"
        for data in (b"", b"\x00" * 4, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"):
            checkpoint.write_bytes(data)
            self.tab._list_checkpoints()
            self.assertEqual(self.count_of_run(), 3)
            self.tab.open_model(checkpoint)
            self.assertIn("damaged", self.controls.statusLabel.text)
        self.tab.open_model(self.folder)
        self.assertIn("neither", self.controls.statusLabel.text)

    def test_installed_models_that_reconstruct_are_there(self) -> None:
        names = [self.controls.checkpointComboBox.itemText(i) for i in range(self.controls.checkpointComboBox.count)]
        self.assertNotIn("Model tissue", names)
        for model in list_models("pretraining"):
            self.assertIn(f"Model {model.name}", names)

    def test_an_exported_model_can_be_opened(self) -> None:
        model = self.folder / "encoder"
        model.mkdir()
        (model / "model.json").write_text("{}", encoding="utf-8")
        self.dialogs.file = str(model)
        self.controls.openModelButton.click()
        self.assertEqual(self.tab.checkpoint.path, model)
        self.begin()
        self.assertEqual(self.runner.process.models, [str(model)])

    def test_what_the_engine_refuses(self) -> None:
        before = slicer.mrmlScene.GetNumberOfNodes()
        for message in ("checkpoint is of another network", "the head cannot be aligned"):
            self.begin()
            self.runner.process.say(event="error", message=message, exit_code=5)
            self.runner.process.end(5)
            wait_for(lambda: not self.tab.inspections.running)
            self.assertEqual(self.controls.statusLabel.text, message)
        self.begin()
        self.runner.process.end(-9)
        wait_for(lambda: not self.tab.inspections.running)
        self.assertIn("memory ran out", self.controls.statusLabel.text)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_answers_that_cannot_be_read(self) -> None:
        self.begin()
        self.runner.process.say(event="inspected", folder=str(self.folder), steps=1)
        self.runner.process.end(0)
        wait_for(lambda: "could not be read" in self.controls.statusLabel.text)

    def test_a_run_of_a_newer_version_has_no_checkpoints(self) -> None:
        run = write_run(self.folder / "new", version=99)
        write_checkpoint(run / "checkpoints" / "last.safetensors", 40)
        self.logic.open_run(run)
        self.assertEqual(self.count_of_run(), 0)
