"""The tab Publish: which runs can become a model, and that it is listed at once."""

from __future__ import annotations

import json
import os
from unittest import mock

import slicer

from asa.models import user_models
from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib.tests.case import PanelTestCase, write_run, write_state


class TestPublishing(PanelTestCase):
    """From a run to a model in the list."""

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.dict(os.environ, {"ASA_MODELS": str(self.folder / "models")})
        patch.start()
        self.addCleanup(patch.stop)
        self.tab = self.panel.tabs["Publish"]
        self.controls = self.tab.ui
        self.tab.list_models()

    def open_run(self, name: str, kind: str = "finetuning", checkpoint: bool = True) -> None:
        run = write_run(self.folder / name, kind)
        if checkpoint:
            (run / "checkpoints").mkdir()
            (run / "checkpoints" / "best.safetensors").touch()
        self.logic.open_run(run)

    def write_model(self, name: str) -> None:
        folder = self.folder / "models" / name
        folder.mkdir(parents=True)
        info = {"format": 1, "name": name, "task": "wmh", "modalities": ["flair"], "network": {}}
        info["scores"] = {"validation": {"WMH": 0.612}}
        (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
        (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no tensor
        (folder / "CARD.md").write_text("# The card", encoding="utf-8")

    def test_what_cannot_become_a_model_says_why(self) -> None:
        self.assertIn("Open a fine-tuning run", self.controls.runLabel.text)
        self.open_run("pretrained", "pretraining")
        self.assertIn("Fine-tune from it", self.controls.runLabel.text)
        self.open_run("young", checkpoint=False)
        self.assertIn("no checkpoint", self.controls.runLabel.text)
        self.assertFalse(self.controls.publishButton.enabled)
        self.open_run("good one")
        self.assertEqual(self.controls.nameLineEdit.text, "good-one")
        self.assertTrue(self.controls.publishButton.enabled)
        self.controls.nameLineEdit.setText("")
        self.assertFalse(self.controls.publishButton.enabled)

    def test_a_run_of_any_task_can_become_a_model(self) -> None:
        for kind in ("finetuning", "tissue", "tumour", "wmh"):
            self.open_run(f"{kind} run", kind)  # a name that no installed model has
            self.assertTrue(self.controls.publishButton.enabled, kind)

    def test_a_name_that_is_taken_is_refused(self) -> None:
        self.write_model("mine")
        self.tab.list_models()
        self.open_run("run")
        self.controls.nameLineEdit.setText("mine")
        self.assertIn("already", self.controls.publishButton.toolTip)

    def test_a_broken_model_is_listed_with_what_is_wrong(self) -> None:
        self.write_model("broken")
        (self.folder / "models" / "broken" / "model.json").write_text('{"format": 1}', encoding="utf-8")
        self.write_model("mine")
        self.tab.list_models()
        table = self.controls.modelsTable
        rows = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
        self.assertIn("mine", [row[0] for row in rows])
        name, state, problem, _scores = rows[-1]
        self.assertEqual((name, state), ("broken", "Broken"))
        self.assertIn("lacks name, task, modalities, network", problem)

    def test_a_published_model_is_listed_and_the_other_module_told(self) -> None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag("ASASegmentation")
        node = slicer.mrmlScene.AddNode(node)
        received = []
        node.AddObserver("ModifiedEvent", lambda *_: received.append(True))
        self.open_run("run")
        write_state(self.folder / "run", "running")
        self.logic.poll()
        self.assertIn("best weights so far", self.controls.runLabel.text)
        self.controls.nameLineEdit.setText("mine")
        self.controls.notesText.setPlainText("Two hospitals.")
        self.controls.publishButton.click()
        wait_for(lambda: self.runner.process)
        words = self.runner.process.arguments
        self.assertEqual(words[2:], ["export", str(self.folder / "run"), "--name", "mine", "--notes", "Two hospitals."])
        self.write_model("mine")
        self.runner.process.end()
        wait_for(lambda: "Published" in self.controls.statusLabel.text)
        table = self.controls.modelsTable
        names = [table.item(row, 0).text() for row in range(table.rowCount)]
        self.assertIn("mine", names)
        self.assertEqual(table.item(names.index("mine"), 3).text(), "WMH 0.61")
        self.assertTrue(received)
        self.assertEqual(self.controls.runLabel.text, "", "nothing beside it says that the name is taken")
        self.assertIn("choose it under Model", self.controls.statusLabel.text)
        self.controls.nameLineEdit.setText("tissue")
        self.assertIn("already exists", self.controls.runLabel.text)
        self.assertFalse(self.controls.cardButton.enabled)
        table.selectRow(names.index("mine"))
        self.controls.cardButton.click()
        self.assertEqual(self.dialogs.messages[-1], "# The card")

    def test_what_goes_wrong_is_a_sentence(self) -> None:
        self.open_run("run")
        self.controls.publishButton.click()
        wait_for(lambda: self.runner.process)
        self.runner.process.end(f"Cannot write {user_models()}: no space left on device.")
        wait_for(lambda: "no space left" in self.controls.statusLabel.text)
        self.assertTrue(self.controls.publishButton.enabled)
