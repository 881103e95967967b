"""What the panel shows and refuses before anything is segmented."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import qt
import slicer
import vtk

from ASASegmentationLib.tests.case import UI_FILE, PanelTestCase
from ASASlicerLib.dependencies import PACKAGES, Plan
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import bent_transform, wait_for


class TestBeforeSegmenting(PanelTestCase):
    """What the panel shows and refuses."""

    def test_without_a_volume_the_button_says_why(self) -> None:
        self.assertFalse(self.ui.segmentButton.enabled)
        self.assertIn("T1", self.ui.segmentButton.toolTip)
        self.assertFalse(self.ui.progressBar.isVisible())

    def test_a_loaded_volume_is_proposed_and_can_be_changed(self) -> None:
        volume = self.add_proposed()
        self.assertEqual(self.ui.modalitySelector0.currentNodeID, volume.GetID())
        self.assertIn("Suggested", self.ui.proposalLabel.text)
        self.assertTrue(self.ui.segmentButton.enabled)
        self.ui.modalitySelector0.setCurrentNode(None)
        self.assertEqual(self.parameters.volumes(), {})
        self.assertFalse(self.ui.segmentButton.enabled)

    def test_four_modalities_are_told_apart_by_name(self) -> None:
        names = {"t1": "pat_t1", "t1gd": "pat_t1ce", "t2": "pat_t2", "flair": "pat_flair"}
        for name in reversed(names.values()):
            add_head(name)
        self.choose_task("tumour")
        wait_for(lambda: len(self.parameters.volumes()) == 4)
        self.assertEqual({key: node.GetName() for key, node in self.parameters.volumes().items()}, names)

    def test_one_volume_for_two_modalities_is_refused(self) -> None:
        volume = self.add_proposed()
        self.choose_task("tumour")
        for key in ("t1", "t1gd", "t2", "flair"):
            self.parameters.set_volume(key, volume)
        self.assertIn("selected for both", self.ui.segmentButton.toolTip)
        self.assertFalse(self.ui.segmentButton.enabled)

    def test_what_is_no_image_is_refused(self) -> None:
        volume, series = (add_head(name) for name in ("T1", "four time points"))
        for kind, values, words in (
            ("vtkMRMLLabelMapVolumeNode", 1, "label map"),
            ("vtkMRMLVectorVolumeNode", 3, "several values"),
            ("vtkMRMLDiffusionWeightedVolumeNode", 7, "several values"),
            ("vtkMRMLScalarVolumeNode", 0, "no voxels"),
        ):
            node = slicer.mrmlScene.AddNewNodeByClass(kind)
            if values:
                node.SetAndObserveImageData(volume_image((8, 8, 8), values))
            self.parameters.set_volume("t1", node)
            self.assertIn(words, self.ui.segmentButton.toolTip)
            self.assertFalse(self.ui.segmentButton.enabled)
        series.SetAndObserveImageData(volume_image((8, 8, 8), 4))  # 4-D: the time points as components
        volume.SetAndObserveImageData(volume_image((8, 8, 1), 1))
        for node, words in ((series, "such as a single time point"), (volume, "single slice")):
            self.parameters.set_volume("t1", node)
            self.assertIn(words, self.ui.segmentButton.toolTip)
            self.assertFalse(self.ui.segmentButton.enabled)

    def test_a_volume_under_a_curved_transform_is_refused(self) -> None:
        volume = self.add_proposed()
        for kind, refused in (("vtkMRMLBSplineTransformNode", True), ("vtkMRMLLinearTransformNode", False)):
            transform = slicer.mrmlScene.AddNewNodeByClass(kind)
            if refused:
                transform.SetAndObserveTransformToParent(bent_transform())
            volume.SetAndObserveTransformNodeID(transform.GetID())
            self.panel.show_parameters()
            self.assertEqual("non-linear" in self.ui.segmentButton.toolTip, refused)

    def test_a_removed_volume_disables_the_button(self) -> None:
        slicer.mrmlScene.RemoveNode(self.add_proposed())
        slicer.app.processEvents()
        self.assertFalse(self.ui.segmentButton.enabled)

    def test_the_panel_fits_a_narrow_dock_whatever_the_names(self) -> None:
        name = "sub-01_ses-02_acq-mprage_run-01_rec-norm_T1w_with_a_very_long_name_of_a_node"
        self.add_proposed(name)
        for task in ("tissue", "tumour", "wmh"):
            self.choose_task(task)
            slicer.app.processEvents()
            self.assertLessEqual(self.widget.minimumSizeHint.width(), 330, task)

    def test_every_control_has_a_help_text(self) -> None:
        controls = re.findall(r'<widget class="(\w+)" name="(\w+)"', UI_FILE.read_text(encoding="utf-8"))
        silent = ("QWidget", "QLabel", "QFrame", "ctkCollapsibleButton")
        for kind, name in controls:
            with self.subTest(control=name):
                self.assertTrue(kind in silent or getattr(self.ui, name).toolTip)

    def test_every_control_is_reached_by_the_keyboard(self) -> None:
        text = UI_FILE.read_text(encoding="utf-8")  # its own controls; those inside of CTK's widgets are CTK's
        for name in re.findall(r'name="(\w+(?:Button|ComboBox|CheckBox|SpinBox))"', text):
            with self.subTest(control=name):
                self.assertTrue(int(getattr(self.ui, name).focusPolicy) & int(qt.Qt.TabFocus))
        letters = re.findall(r"<string>[^<]*&amp;(\w)", text.lower())
        self.assertEqual(len(letters), len(set(letters)), letters)

    def test_the_card_of_the_model_is_shown(self) -> None:
        self.ui.cardButton.click()
        self.assertEqual(self.dialogs.messages, ["# A test model"])

    def test_a_better_model_is_offered_and_not_taken(self) -> None:
        self.add_proposed()
        for name, dice in {"test-tissue": 0.98, "zz-mine": 0.99}.items():
            folder = Path(os.environ["ASA_MODELS"]) / name
            folder.mkdir(exist_ok=True)
            info = {"format": 1, "name": name, "task": "tissue", "modalities": ["t1"], "network": {}}
            info |= {"scores": {"validation": {"GM": dice}}}
            (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
            (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no tensor
        self.panel.show_parameters()
        self.assertEqual(self.parameters.model.name, "test-tissue")
        self.assertIn("Ready.", self.ui.statusLabel.text)
        self.assertIn("zz-mine reports a higher Dice than test-tissue", self.ui.statusLabel.text)
        self.ui.modelComboBox.setCurrentIndex(self.ui.modelComboBox.findData("zz-mine"))
        self.assertEqual(self.parameters.model.name, "zz-mine")
        self.assertNotIn("zz-mine", self.ui.statusLabel.text)

    def test_missing_packages_are_explained_once_and_installed(self) -> None:
        self.add_proposed()
        self.plan = lambda wheels: Plan(PACKAGES[:2], False, wheels, "here")
        self.start()
        self.assertIn("torch", self.dialogs.messages[0])
        self.assertEqual(self.installer.installed, list(PACKAGES[:2]))

    def test_a_missing_extension_is_said_before_anything_is_asked(self) -> None:
        self.add_proposed()
        self.plan = lambda wheels: Plan(PACKAGES[:2], False, wheels, "here", extension=False)
        self.ui.segmentButton.click()
        self.assertEqual(self.dialogs.messages, [])
        self.assertIn("Install that extension in the Extensions Manager", self.ui.statusLabel.text)
        self.ui.wheelsPathLineEdit.setCurrentPath("wheels")  # brings PyTorch too
        self.start()
        self.assertEqual(self.installer.installed, list(PACKAGES[:2]))

    def test_a_closed_scene_leaves_the_task_and_the_settings(self) -> None:
        self.choose_task("wmh")
        self.ui.deviceComboBox.setCurrentIndex(self.ui.deviceComboBox.findData("cpu"))
        slicer.mrmlScene.Clear(0)
        self.assertEqual((self.parameters.settings.task, self.parameters.settings.device), ("wmh", "cpu"))
        self.assertEqual(self.ui.taskComboBox.itemData(self.ui.taskComboBox.currentIndex), "wmh")

    def test_a_user_who_does_not_want_packages_gets_none(self) -> None:
        self.add_proposed()
        self.plan = lambda wheels: Plan(PACKAGES, True, wheels, "here")
        self.dialogs.answer = False
        self.ui.segmentButton.click()
        self.assertEqual(self.installer.installed, [])
        self.assertFalse(self.panel.logic.running)
        self.assertIn("packages", self.ui.statusLabel.text)


def volume_image(size: tuple[int, int, int], values: int) -> vtk.vtkImageData:
    """Voxels with so many values each."""
    image = vtk.vtkImageData()
    image.SetDimensions(size)
    image.AllocateScalars(vtk.VTK_SHORT, values)
    return image
