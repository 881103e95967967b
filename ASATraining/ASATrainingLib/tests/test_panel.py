"""Panel around the tabs: the current run and its restoration."""

from __future__ import annotations

from typing import Any
from unittest import mock

import slicer

from ASASlicerLib.dependencies import PACKAGES, Plan
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib.runs.run_folder import Status
from ASATrainingLib.tests.case import PanelTestCase, write_run, write_state
from ASATrainingLib.tests.fake_inspections import write_checkpoint
from ASATrainingLib.tests.fakes import SETTINGS_FORM
from ASATrainingLib.watch.tensorboard import TensorBoard


class TestChoosingARun(PanelTestCase):
    """Runs are opened, chosen, forgotten and remembered."""

    def open_run(self, name: str, **settings: Any) -> None:
        self.dialogs.file = str(write_run(self.folder / name, **settings))
        self.ui.openRunButton.click()

    def test_without_a_run_it_says_so(self) -> None:
        self.assertIn("No run", self.ui.runStatusLabel.text)
        self.assertFalse(self.ui.forgetRunButton.enabled)

    def test_an_opened_run_is_current_and_found_again(self) -> None:
        self.open_run("first")
        self.open_run("second")
        self.assertEqual(self.logic.current_run.name, "second")
        self.assertEqual(self.ui.runComboBox.count, 2)
        self.ui.runComboBox.setCurrentIndex(1)
        self.assertEqual(self.logic.current_run.name, "first")
        self.close()
        self.open()
        self.assertEqual([run.name for run in self.logic.runs], ["second", "first"])
        self.assertEqual(self.logic.current_run.name, "first")

    def test_an_engine_that_did_not_answer_can_be_asked_again(self) -> None:
        self.panel.ask_engine()
        for error in ("no memory", ""):
            wait_for(lambda: self.runner.running("settings"))
            self.assertEqual(self.ui.packagesButton.isVisible(), False)
            self.runner.running("settings").say(SETTINGS_FORM)
            self.runner.running("settings").end(error)
            wait_for(lambda: self.panel._settings is None)
            self.assertEqual(self.ui.packagesButton.isVisible(), bool(error))
            self.ui.packagesButton.click()
        self.assertTrue(self.panel.tabs["Run"].kind_known)
        self.assertEqual((self.installer.installed, self.dialogs.messages), ([], []))

    def test_tensorboard_can_be_opened_once_it_is_installed(self) -> None:
        button = self.panel.tabs["Watch"].ui.tensorboardButton
        with mock.patch.object(TensorBoard, "installed", return_value=False):
            self.open_run("run")
            self.panel.tabs["Watch"].show_board_button()
            self.assertIn("not installed", button.toolTip)
            self.assertFalse(button.enabled)
        self.plan = lambda wheels: Plan(PACKAGES[:1], False, wheels, "here")
        with mock.patch.object(TensorBoard, "installed", return_value=True):
            self.ui.packagesButton.click()
        self.assertTrue(button.enabled)
        self.assertIn("Start TensorBoard", button.toolTip)

    def test_every_tab_fits_a_narrow_dock(self) -> None:
        for number, title in enumerate(self.panel.tabs):
            self.ui.tabWidget.setCurrentIndex(number)
            slicer.app.processEvents()
            self.assertLessEqual(self.widget.minimumSizeHint.width(), 350, title)

    def test_closing_the_panel_leaves_the_choices_in_the_scene(self) -> None:
        volume = add_head("T1")
        self.panel.tabs["Inspect model"].ui.volumeSelector.setCurrentNode(volume)
        self.close()
        self.open()
        self.assertEqual(self.panel.tabs["Inspect model"].volume, volume)

    def test_the_scene_remembers_the_run(self) -> None:
        self.open_run("first")
        path = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        self.open_run("second")
        slicer.mrmlScene.Clear(0)
        self.assertEqual(self.logic.current_run.name, "second")
        slicer.util.loadScene(path)
        self.assertEqual(self.logic.current_run.name, "first")

    def test_a_changed_state_is_shown(self) -> None:
        self.open_run("first")
        received = []
        self.logic.run_state_changed.connect(lambda run: received.append(run.status))
        write_state(self.folder / "first", "running")
        self.logic.poll()
        self.logic.poll()
        self.assertEqual(received, [Status.RUNNING])
        self.assertIn("Step 3 of 10", self.ui.runStatusLabel.text)
        self.assertIn("running", self.ui.runComboBox.itemText(0))

    def test_what_is_no_run_or_too_new_is_a_sentence(self) -> None:
        self.dialogs.file = str(self.folder)
        self.ui.openRunButton.click()
        self.assertIn("not a run folder", self.dialogs.messages[-1])
        self.open_run("new", version=99)
        self.assertIn("newer version", self.dialogs.messages[-1])
        self.assertIn("newer version", self.ui.runStatusLabel.text)

    def test_a_forgotten_run_stays_on_disk(self) -> None:
        self.open_run("first")
        self.open_run("second")
        self.ui.forgetRunButton.click()
        self.assertEqual([run.name for run in self.logic.runs], ["first"])
        self.assertEqual(self.logic.current_run.name, "first")
        self.assertTrue((self.folder / "second" / "run.yaml").is_file())

    def test_two_panels_on_one_run(self) -> None:
        self.open_run("first")
        first = self.panel
        self.addCleanup(first.close)
        self.open()
        self.assertEqual(self.logic.current_run.name, "first")
        write_state(self.folder / "first", "running")
        for panel in (first, self.panel):
            panel.logic.poll()
            self.assertIn("Running.", panel.ui.runStatusLabel.text)

    def test_the_first_checkpoint_of_a_young_run_is_chosen(self) -> None:
        run = write_run(self.folder / "young")
        write_state(run, "running")
        self.logic.open_run(run)
        write_checkpoint(run / "checkpoints" / "last.safetensors", 5)
        write_state(run, "running", step=5)
        self.logic.poll()
        self.assertEqual(self.panel.tabs["Inspect model"].checkpoint.path, run / "checkpoints" / "last.safetensors")
