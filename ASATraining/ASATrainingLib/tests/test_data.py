"""Tab Data: scanning, listing and preparing."""

from __future__ import annotations

from typing import Any

import slicer

from ASASlicerLib.nifti import read_nifti
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib.tests.case import PanelTestCase
from ASATrainingLib.tests.fakes import SETTINGS_FORM

FOUND = {"event": "found", "subject": "1", "modalities": ["t1"], "labels": False, "grid": "8x9x10 of 1x1x1 mm"}


class TestData(PanelTestCase):
    """Scan first, then prepare."""

    def open(self) -> None:
        super().open()
        self.tab = self.panel.tabs["Data"]
        self.controls = self.tab.ui
        self.tab.show_datasets(SETTINGS_FORM[1]["datasets"])
        self.controls.folderPathLineEdit.setCurrentPath(str(self.folder))

    def begin(self, button: str) -> list[str]:
        """Clicks and waits for the program; returns its arguments."""
        before = len(self.runner.started)
        getattr(self.controls, button).click()
        wait_for(lambda: len(self.runner.started) > before)
        return self.runner.process.arguments

    def finish(self, *lines: dict[str, Any], error: str = "") -> None:
        for line in lines:
            self.runner.process.say(line)
        self.runner.process.end(error)
        wait_for(lambda: not self.tab.busy)

    def choose(self, box: str, value: str) -> None:
        control = getattr(self.controls, box)
        control.setCurrentIndex(control.findData(value))

    def test_what_is_there_is_listed_with_its_problems(self) -> None:
        arguments = self.begin("scanButton")
        self.assertEqual(arguments[2:6], ["prepare", "pretrain", "--bids", str(self.folder)])
        self.assertIn("--dry-run", arguments)
        self.finish({**FOUND, "name": "a", "problems": []}, {**FOUND, "name": "b", "problems": ["it is empty"]})
        table = self.controls.foundTable
        cells = [[table.item(row, column).text() for column in range(3)] for row in range(2)]
        self.assertEqual(cells[0], ["a", "t1", "8x9x10 of 1x1x1 mm"])
        self.assertEqual(cells[1][2], "it is empty")
        self.assertEqual(self.controls.foundLabel.text, "2 cases, 1 with problems.")

    def test_an_emptied_folder_or_store_is_noticed(self) -> None:
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.assertTrue(self.controls.prepareButton.enabled)
        self.controls.storePathLineEdit.setCurrentPath("")
        self.assertFalse(self.controls.prepareButton.enabled)
        self.controls.folderPathLineEdit.setCurrentPath("")
        self.assertFalse(self.controls.scanButton.enabled)

    def test_a_folder_without_scans_is_a_sentence(self) -> None:
        self.begin("scanButton")
        self.finish(error="there contains no T1-weighted scan")
        self.assertEqual(self.controls.statusLabel.text, "there contains no T1-weighted scan")
        self.assertEqual(self.controls.foundTable.rowCount, 0)

    def test_preparing_shows_progress_and_hands_the_store_on(self) -> None:
        received = []
        self.logic.store_ready.connect(lambda kind, store: received.append((kind, store)))
        self.assertFalse(self.controls.prepareButton.enabled)  # no store yet
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.controls.strippedCheckBox.setChecked(True)
        arguments = self.begin("prepareButton")
        self.assertIn("--stripped", arguments)
        self.assertEqual(arguments[arguments.index("--size") + 1], "frame")
        self.runner.process.say({"event": "progress", "stage": "a: ok", "fraction": 0.5, "done": 1, "total": 2})
        wait_for(lambda: self.controls.progressBar.value == 500)
        self.assertEqual(self.controls.statusLabel.text, "a: ok")
        self.finish({"event": "done", "said": "2 scans", "sheet": "sheet.html"})
        self.assertEqual(received, [("pretrain", self.folder / "store")])
        self.assertEqual(self.controls.statusLabel.text, "2 scans")
        self.assertTrue(self.controls.sheetButton.isVisible())

    def test_preparing_can_be_cancelled_and_errors_are_sentences(self) -> None:
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.begin("prepareButton")
        self.controls.prepareButton.click()
        self.assertTrue(self.runner.process.stopped)
        self.assertIn("Finished cases are kept", self.controls.statusLabel.text)
        self.begin("prepareButton")
        self.finish(error="Cannot write store: no space left on device.")
        self.assertIn("no space left", self.controls.statusLabel.text)

    def test_labelled_cases_need_a_data_set(self) -> None:
        self.choose("purposeComboBox", "finetune")
        self.assertTrue(self.controls.datasetComboBox.isVisible())
        self.assertFalse(self.controls.jobsSpinBox.isVisible())
        arguments = self.begin("scanButton")
        self.assertEqual(arguments[2:8], ["prepare", "finetune", "--data", str(self.folder), "--dataset", "brats2021"])
        self.finish({**FOUND, "name": "a", "labels": True, "problems": []})
        self.assertEqual(self.controls.foundTable.item(0, 1).text(), "t1, labels")

    def test_volumes_of_the_scene_are_prepared_without_their_names(self) -> None:
        volume = add_head("Jane Doe")
        add_head("other")
        self.choose("sourceComboBox", "scene")
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        wait_for(lambda: self.controls.volumesList.count == 2)
        self.assertIn("Select", self.controls.prepareButton.toolTip)
        self.controls.volumesList.item(0).setCheckState(2)
        slicer.app.processEvents()
        arguments = self.begin("prepareButton")
        tree = self.folder / "store-scans"
        self.assertEqual(arguments[arguments.index("--bids") + 1], str(tree))
        written = [path.relative_to(tree).as_posix() for path in tree.rglob("*.nii")]
        self.assertEqual(written, ["sub-001_T1w.nii"])
        array, _ = finish(read_nifti(tree / written[0]))
        self.assertEqual(array.T.tolist(), slicer.util.arrayFromVolume(volume).tolist())

    def test_a_folder_that_cannot_be_written_is_a_sentence(self) -> None:
        add_head("T1")
        self.choose("sourceComboBox", "scene")
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        wait_for(lambda: self.controls.volumesList.count == 1)
        self.controls.volumesList.item(0).setCheckState(2)
        slicer.app.processEvents()
        (self.folder / "store-scans").write_text("a file in the way", encoding="utf-8")
        self.controls.prepareButton.click()
        self.assertIn("cannot be written to", self.controls.statusLabel.text)
        self.assertFalse(self.tab.busy)
