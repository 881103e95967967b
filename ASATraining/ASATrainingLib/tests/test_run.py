"""The tab Run: settings as the engine describes them, what a run will need, starting, stopping, killing, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import unittest
from typing import Any
from unittest import mock

import slicer

from asa.liveness import process_alive
from ASASlicerLib.process import python_executable
from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib.run.setting import Setting, nested
from ASATrainingLib.runs import control
from ASATrainingLib.runs.control import RunControl
from ASATrainingLib.runs.run_folder import Status, read_run
from ASATrainingLib.tests.case import FolderTestCase, PanelTestCase, write_run, write_state
from ASATrainingLib.tests.fakes import ESTIMATE, SETTINGS_FORM, FakeLauncher


class TestSetting(unittest.TestCase):
    """What is typed, and what is wrong with it."""

    def setting(self, key: str) -> Setting:
        return next(Setting.from_row(row) for form in SETTINGS_FORM for row in form["rows"] if row["key"] == key)

    def test_texts_and_values(self) -> None:
        for key, text, value in (
            ("mask_ratio", "0.6", 0.6),
            ("crop", "32, 64, 32", [32, 64, 32]),
            ("crop", "32x64x32", [32, 64, 32]),
            ("crop", "", None),
            ("flip", "yes", True),
            ("method", "mae", "mae"),
            ("encoder", '{"depth": 4}', {"depth": 4}),
            ("schedule.log_every", "7", 7),
        ):
            with self.subTest(key=key, text=text):
                setting = self.setting(key)
                self.assertEqual(setting.value(text), value)
                self.assertEqual(setting.value(setting.text(value)), value)

    def test_what_is_wrong_is_said(self) -> None:
        for key, text, words in (
            ("mask_ratio", "1", "more than 0 and less than 1"),
            ("mask_ratio", "much", "a number"),
            ("schedule.log_every", "0", "more than 0"),
            ("schedule.log_every", "2.5", "a whole number"),
            ("crop", "32, 32", "3 numbers"),
            ("encoder", "[4]", "JSON object"),
        ):
            with self.subTest(key=key, text=text), self.assertRaisesRegex(ValueError, words):
                self.setting(key).value(text)

    def test_keys_become_groups(self) -> None:
        self.assertEqual(nested({"a": 1, "b.c": 2, "b.d": 3}), {"a": 1, "b": {"c": 2, "d": 3}})


class RunTestCase(PanelTestCase):
    """A panel whose engine has answered, a store, and a run folder to be."""

    def open(self) -> None:
        super().open()
        self.tab = self.panel.tabs["Run"]
        self.controls = self.tab.ui
        self.tab.show_forms(SETTINGS_FORM)
        (self.folder / "store").mkdir(exist_ok=True)
        self.controls.runStorePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.controls.runFolderPathLineEdit.setCurrentPath(str(self.folder / "run"))

    def control(self, key: str) -> Any:
        return self.tab._form._controls[key]

    def answer(self, command: str, value: object = None, error: str = "") -> None:
        wait_for(lambda: self.runner.running(command))
        process = self.runner.running(command)
        if value is not None:
            process.say(value)
        process.end(error)

    def start(self, **changes: object) -> None:
        self.controls.startButton.click()
        self.answer("estimate", {**ESTIMATE, **changes})
        wait_for(lambda: self.tab._call is None)


class TestForm(RunTestCase):
    """The table that is made from the settings model."""

    def test_a_preset_sets_every_value(self) -> None:
        self.assertEqual(self.tab.values()["crop"], [96, 96, 96])
        self.controls.presetComboBox.setCurrentIndex(1)
        values = self.tab.values()
        self.assertEqual((values["crop"], values["flip"], values["schedule"]), (None, False, {"log_every": 50}))

    def test_a_wrong_value_is_said_as_it_is_typed(self) -> None:
        self.control("mask_ratio").setText("1.5")
        self.assertEqual(self.controls.faultLabel.text, "mask_ratio must be more than 0 and less than 1.")
        self.assertFalse(self.controls.startButton.enabled)
        self.assertFalse(self.controls.estimateButton.enabled)
        self.assertIn("mask_ratio must be", self.controls.startButton.toolTip)
        self.control("mask_ratio").setText("0.5")
        self.assertTrue(self.controls.startButton.enabled)
        self.assertEqual(self.tab.values()["mask_ratio"], 0.5)

    def test_the_other_settings_are_shown_when_asked_for(self) -> None:
        table = self.controls.settingsTable
        hidden = lambda: [table.item(r, 0).text() for r in range(table.rowCount) if table.isRowHidden(r)]  # noqa: E731
        self.assertEqual(hidden(), ["encoder", "flip", "schedule.log_every"])
        self.controls.allCheckBox.click()
        self.assertEqual(hidden(), [])
        self.assertIn("Share of patches", table.item(1, 0).toolTip())

    def test_values_are_read_in_full_in_a_narrow_panel(self) -> None:
        self.ui.tabWidget.setCurrentIndex(1)
        self.widget.resize(350, 760)
        self.controls.allCheckBox.setChecked(True)
        slicer.app.processEvents()
        table, metrics = self.controls.settingsTable, self.controls.settingsTable.fontMetrics()
        self.assertEqual(self.widget.width, 350)
        self.assertGreater(table.columnWidth(1), metrics.horizontalAdvance("128, 128, 128"))
        self.assertLessEqual(table.columnWidth(0) + table.columnWidth(1), table.viewport().width)
        self.assertTrue(table.isColumnHidden(2))
        self.assertIn("Unit: voxels.", table.item(2, 0).toolTip())
        self.widget.resize(900, 760)
        slicer.app.processEvents()
        self.assertFalse(table.isColumnHidden(2))

    def test_fine_tuning_starts_from_a_known_run(self) -> None:
        self.logic.open_run(write_run(self.folder / "pretrained"))
        self.controls.kindComboBox.setCurrentIndex(1)
        self.controls.initComboBox.setCurrentIndex(self.controls.initComboBox.findData(str(self.folder / "pretrained")))
        self.assertEqual(self.tab.values()["init"], str(self.folder / "pretrained"))

    def test_a_run_can_be_started_from_once_it_says_what_it_is(self) -> None:
        self.controls.kindComboBox.setCurrentIndex(1)
        young = self.folder / "young"
        young.mkdir()
        write_state(young, "starting")
        self.logic.open_run(young)
        self.assertEqual(self.controls.initComboBox.findData(str(young)), -1)
        write_state(write_run(young), "running")
        self.logic.poll()
        self.assertGreater(self.controls.initComboBox.findData(str(young)), 0)

    def test_a_store_that_is_missing_and_a_folder_in_use_are_said(self) -> None:
        self.controls.runStorePathLineEdit.setCurrentPath(str(self.folder / "nowhere"))
        self.assertIn("tab Data", self.controls.faultLabel.text)
        self.controls.runStorePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.controls.runFolderPathLineEdit.setCurrentPath("")
        self.assertIn("Choose a folder for the run", self.controls.faultLabel.text)
        self.assertFalse(self.controls.startButton.enabled)
        self.controls.runFolderPathLineEdit.setCurrentPath(str(self.folder / "run"))
        self.assertTrue(self.controls.startButton.enabled)
        write_run(self.folder / "run")
        self.controls.runFolderPathLineEdit.setCurrentPath("")
        self.controls.runFolderPathLineEdit.setCurrentPath(str(self.folder / "run"))
        self.assertIn("not empty", self.controls.faultLabel.text)

    def test_a_folder_that_cannot_be_looked_at_is_said(self) -> None:
        self.assertTrue(self.controls.startButton.enabled)
        self.controls.runFolderPathLineEdit.setCurrentPath(str(self.folder / ("a" * 300)))  # no system has such names
        self.assertFalse(self.controls.startButton.enabled)
        self.assertIn("cannot be read", self.controls.faultLabel.text)


class TestStarting(RunTestCase):
    """From the click to a process."""

    def test_what_it_will_need_is_shown(self) -> None:
        self.controls.estimateButton.click()
        self.answer("estimate", ESTIMATE)
        wait_for(lambda: "1.7 GB of memory" in self.controls.estimateLabel.text)
        for words in ("18 s per epoch", "45 min in total", "450 steps", "160 MB of disk"):
            self.assertIn(words, self.controls.estimateLabel.text)
        self.assertEqual(self.launcher.launched, [])
        self.control("mask_ratio").setText("0.5")
        self.assertEqual(self.controls.estimateLabel.text, "")  # it was of other settings

    def test_an_estimate_that_fails_is_a_sentence_and_nothing_starts(self) -> None:
        self.controls.startButton.click()
        self.answer("estimate", error="the store is damaged")
        wait_for(lambda: self.controls.estimateLabel.text == "the store is damaged")
        self.assertEqual(self.launcher.launched, [])

    def test_a_run_is_started_and_looked_at(self) -> None:
        self.start()
        words = self.launcher.launched[0]
        folder = self.folder / "run"
        self.assertEqual(words[2:6], ["pretrain", str(folder / "settings.json"), "-o", str(folder)])
        self.assertEqual(words[-3:], ["--device", "cpu", "--queue"])
        self.assertEqual(json.loads((folder / "settings.json").read_text())["store"], str(self.folder / "store"))
        self.assertEqual(self.logic.current_run.path, folder)
        self.assertIs(self.logic.current_run.status, Status.DIED)  # the fake one never lived
        self.assertFalse(self.controls.startButton.enabled)  # that folder is in use now

    def test_a_small_disk_is_warned_of_before(self) -> None:
        self.dialogs.answer = False
        self.start(warnings=["The run needs about 9 GB of disk, and 1 GB are free."])
        self.assertIn("9 GB of disk", self.dialogs.messages[-1])
        self.assertIn("anyway", self.dialogs.messages[-1])
        self.assertEqual(self.launcher.launched, [])
        self.assertFalse((self.folder / "run").exists())
        self.dialogs.answer = True
        self.controls.startButton.click()  # the estimate is still of these settings
        self.assertEqual(len(self.launcher.launched), 1)

    def test_a_taken_device_is_told_and_queued_for(self) -> None:
        self.controls.devicesButton.click()
        gpu = {"name": "cuda:0", "title": "GPU", "free": 2e9, "total": 24e9, "runs": ["/runs/first"]}
        self.answer("devices", [gpu, {"name": "cpu", "title": "Processor", "free": 1e9, "total": 8e9, "runs": []}])
        wait_for(lambda: self.controls.deviceComboBox.count == 2)
        self.assertIn("2.0 GB of 24 GB free", self.controls.deviceComboBox.itemText(0))
        self.assertIn("1 run(s) queued", self.controls.deviceComboBox.itemText(0))
        self.assertEqual(self.controls.startButton.text, "Queue")
        self.controls.deviceComboBox.setCurrentIndex(1)
        self.assertEqual(self.controls.startButton.text, "Start")

    def test_a_run_folder_that_cannot_be_made_is_a_sentence(self) -> None:
        (self.folder / "file").write_text("in the way", encoding="utf-8")
        self.controls.runFolderPathLineEdit.setCurrentPath(str(self.folder / "file" / "run"))
        self.start()
        self.assertIn("cannot be written to", self.dialogs.messages[-1])
        self.assertEqual(self.launcher.launched, [])

    def test_a_program_that_cannot_be_started_is_a_sentence(self) -> None:
        self.launcher.reason = "no such program"
        self.start()
        self.assertIn("no such program", self.dialogs.messages[-1])


class TestControlling(RunTestCase):
    """Stop, kill and resume the current run."""

    def open_run(self, phase: str, **state: Any) -> None:
        run = write_run(self.folder / "old", store="x")
        write_state(run, phase, **state)
        self.logic.open_run(run)
        self.logic.refresh(run)

    def enabled(self) -> list[bool]:
        return [getattr(self.controls, f"{name}Button").enabled for name in ("stop", "resume", "kill")]

    def test_what_can_be_done_follows_from_the_state(self) -> None:
        self.assertEqual(self.enabled(), [False, False, False])
        for phase, state, expected in (
            ("running", {}, [True, False, True]),
            ("running", {"host": "node-7"}, [True, False, False]),
            ("stopped", {}, [False, True, False]),
            ("failed", {}, [False, True, False]),
            ("running", {"pid": 2**22 + 1}, [False, True, False]),  # died
            ("finished", {}, [False, False, False]),
        ):
            with self.subTest(phase=phase, **state):
                self.open_run(phase, **state)
                self.assertEqual(self.enabled(), expected)

    def test_a_run_of_a_newer_version_is_left_alone(self) -> None:
        run = write_run(self.folder / "new", version=99)
        write_state(run, "stopped")
        self.logic.open_run(run)
        self.assertFalse(self.controls.resumeButton.enabled)
        self.assertIn("newer version", self.controls.resumeButton.toolTip)

    def test_stopping_asks_through_the_folder(self) -> None:
        self.open_run("running")
        self.controls.stopButton.click()
        self.assertTrue((self.folder / "old" / "stop").is_file())
        self.assertIn("checkpoint", self.controls.controlLabel.text)

    def test_resuming_uses_the_runs_own_settings_and_device(self) -> None:
        self.open_run("stopped", device="cuda:1", step=7)
        (self.folder / "old" / "stop").touch()
        self.controls.resumeButton.click()
        words = self.launcher.launched[0]
        self.assertEqual((words[2], words[words.index("--device") + 1]), ("pretrain", "cuda:1"))
        self.assertEqual(json.loads((self.folder / "old" / "settings.json").read_text()), {"store": "x"})
        self.assertFalse((self.folder / "old" / "stop").exists())
        self.assertEqual(self.logic.current_run.state.step, 7)

    @unittest.skipUnless(os.name == "posix", "by its process group")
    def test_killing_ends_the_process_once_confirmed(self) -> None:
        child = subprocess.Popen([python_executable(), "-c", "import time; time.sleep(60)"], start_new_session=True)
        self.addCleanup(child.kill)
        self.open_run("running", pid=child.pid)
        self.dialogs.answer = False
        self.controls.killButton.click()
        self.assertIsNone(child.poll())
        self.dialogs.answer = True
        self.controls.killButton.click()
        self.assertEqual(child.wait(20), -signal.SIGKILL)
        self.logic.poll()
        self.assertIs(self.logic.current_run.status, Status.DIED)
        self.assertTrue(self.controls.resumeButton.enabled)

    @unittest.skipUnless(os.name == "posix", "by its session")
    def test_killing_ends_the_launcher_and_the_children_too(self) -> None:
        """In Slicer a launcher starts Python, which writes its own id; with several GPUs it starts further ones."""
        sleep = "import time; time.sleep(60)"
        begin = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {!r}]); "
        run = begin.format(sleep) + "print(child.pid, flush=True); child.wait()"
        launcher = begin.format(run) + "child.wait()"
        first = subprocess.Popen([python_executable(), "-c", launcher], start_new_session=True, stdout=subprocess.PIPE)
        assert first.stdout is not None
        self.addCleanup(first.stdout.close)
        last = int(first.stdout.readline())
        self.open_run("running", pid=last)  # neither the launcher's nor its group's
        self.controls.killButton.click()
        self.assertEqual(first.wait(20), -signal.SIGKILL)
        wait_for(lambda: not process_alive(last))

    def test_killing_on_windows(self) -> None:
        self.open_run("running")
        with mock.patch.object(control, "_POSIX", False), mock.patch.object(control, "kill_tree") as kill_tree:
            self.controls.killButton.click()
        kill_tree.assert_called_once_with(os.getpid())

    def test_a_folder_that_cannot_be_written_is_a_sentence(self) -> None:
        denied = PermissionError(13, "Permission denied")
        self.open_run("running")
        with mock.patch("pathlib.Path.touch", side_effect=denied):
            self.controls.stopButton.click()
        self.open_run("stopped")
        with mock.patch("pathlib.Path.write_text", side_effect=denied):
            self.controls.resumeButton.click()
        words = f"{self.folder / 'old'} cannot be written to: Permission denied."
        self.assertEqual([said for said in self.dialogs.messages if said == words], [words, words])
        self.assertEqual(self.launcher.launched, [])

    def test_two_panels_on_one_run_agree(self) -> None:
        self.open_run("running")
        first, first_controls = self.panel, self.controls
        self.addCleanup(first.close)
        self.open()
        self.controls.stopButton.click()
        write_state(self.folder / "old", "stopped")
        first.logic.poll()
        self.logic.poll()
        for controls in (first_controls, self.controls):
            self.assertEqual((controls.stopButton.enabled, controls.resumeButton.enabled), (False, True))


class TestRunControl(FolderTestCase):
    """What has no panel."""

    def test_a_run_of_any_kind_is_resumed_by_the_command_that_it_names(self) -> None:
        commands = {"pretraining": "pretrain", "finetuning": "finetune"} | dict.fromkeys(
            ("tissue", "tumour", "wmh"), "train"
        )
        for kind, command in commands.items():
            write_run(self.folder / kind, kind, store="x")
            write_state(self.folder / kind, "stopped")
            launcher = FakeLauncher()
            RunControl(launcher).resume(read_run(self.folder / kind))
            self.assertEqual([words[2] for words in launcher.launched], [command])
        path = self.folder / "new" / "run.yaml"
        path.parent.mkdir()
        path.write_text("format: 1\nkind: new\ncommand: train\nsegments: true\nsettings:\n  a: 1\n", encoding="utf-8")
        run = read_run(path.parent)
        self.assertEqual((run.abilities.command, run.abilities.segments), ("train", True))
        path.write_text("format: 1\nkind: new\nsettings:\n  a: 1\n", encoding="utf-8")
        self.assertIn("does not record which command", RunControl(FakeLauncher()).why_not_resume(read_run(path.parent)))

    def test_a_run_that_never_came_to_life_can_be_resumed(self) -> None:
        launcher = FakeLauncher()
        control = RunControl(launcher)
        control.start("finetune", {"store": "x"}, self.folder / "run", "cpu")
        run = read_run(self.folder / "run")
        self.assertIs(run.status, Status.DIED)
        control.resume(run)
        self.assertEqual([words[2] for words in launcher.launched], ["finetune", "finetune"])
