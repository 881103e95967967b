"""Labelled cases of the scene: what belongs together, what is written, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import slicer

from asa.tasks import TASKS, Task
from ASASlicerLib.nifti import read_nifti
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for
from ASASlicerLib.volumes import ijk_to_ras
from ASATrainingLib.data.scene_cases import TABLE, SceneCase, scene_cases, write_cases
from ASATrainingLib.tests.case import PanelTestCase
from ASATrainingLib.tests.fakes import SETTINGS_FORM

TISSUE, TUMOUR = TASKS["tissue"], TASKS["tumour"]
_DATASETS = [
    *SETTINGS_FORM[1]["datasets"],
    *({"name": task.name, "title": f"folder of {task.name}", "task": task.name} for task in (TISSUE, TUMOUR)),
]


def add_label_map(volume: slicer.vtkMRMLScalarVolumeNode, name: str = "labels") -> slicer.vtkMRMLLabelMapVolumeNode:
    """The brightness of a head in steps of 60: label values 0 to 4."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    node.CopyOrientation(volume)
    slicer.util.updateVolumeFromArray(node, (slicer.util.arrayFromVolume(volume) // 60).astype(np.uint8))
    return node


def add_segmentation(
    volume: slicer.vtkMRMLScalarVolumeNode, segments: dict[str, int]
) -> slicer.vtkMRMLSegmentationNode:
    """Segments by name, each of what is at least so bright."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "manual")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    image = slicer.util.arrayFromVolume(volume)
    for number, (name, least) in enumerate(segments.items()):
        node.GetSegmentation().AddEmptySegment(f"Segment_{number}", name)
        mask = (image >= least).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, f"Segment_{number}", volume)
    return node


class TestSceneCases(PanelTestCase):
    """From the scene to a table of cases."""

    def open(self) -> None:
        super().open()
        self.controls = self.panel.tabs["Data"].ui
        self.panel.tabs["Data"].show_datasets(_DATASETS)

    def study(self, name: str, *nodes: slicer.vtkMRMLNode, patient: int = 0) -> int:
        """Puts nodes into a study of a patient; returns the patient's item."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        patient = patient or hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
        study = hierarchy.CreateStudyItem(patient, name)
        for node in nodes:
            item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
            hierarchy.SetItemParent(item, study)
        return int(patient)

    def written(self, cases: list[SceneCase], task: Task) -> list[dict[str, str]]:
        finish(write_cases(cases, task, self.folder))
        with (self.folder / TABLE).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def test_a_single_label_map_goes_with_the_scan_beside_it(self) -> None:
        volume = add_head("T1", np.array([[-2.0, 0.1, 0, 40], [0.1, -2.0, 0.2, 30], [0, 0.2, 2.0, -50], [0, 0, 0, 1]]))
        add_label_map(volume, "Jane Doe")
        (case,) = scene_cases(slicer.mrmlScene, TISSUE)
        self.assertEqual((case.problem, case.images["t1"].GetID()), ("", volume.GetID()))
        (row,) = self.written([case], TISSUE)
        self.assertEqual((row["t1"], row["labels"]), ("case-001/t1.nii", "case-001/labels.nii"))
        labels, affine = finish(read_nifti(self.folder / row["labels"]))
        np.testing.assert_allclose(affine, ijk_to_ras(volume), atol=1e-4)
        np.testing.assert_array_equal(labels.T, slicer.util.arrayFromVolume(volume) // 60)

    def test_cases_of_one_patient_are_told_and_never_mixed_up(self) -> None:
        heads = [add_head(f"scan {number} T1") for number in range(3)]
        maps = [add_label_map(head) for head in heads]
        flat = scene_cases(slicer.mrmlScene, TISSUE)
        self.assertTrue(all("could not be determined" in case.problem for case in flat))  # whose labels are whose?
        patient = self.study("first", heads[0], maps[0])
        self.study("later", heads[1], maps[1], patient=patient)
        self.study("other", heads[2], maps[2])
        cases = scene_cases(slicer.mrmlScene, TISSUE)
        self.assertEqual([case.images["t1"].GetID() for case in cases], [head.GetID() for head in heads])
        subjects = [row["subject"] for row in self.written(cases, TISSUE)]
        self.assertEqual(subjects, ["subject-001", "subject-001", "subject-002"])

    def test_a_segmentation_goes_with_the_scan_it_was_drawn_on(self) -> None:
        heads = [add_head("T1 of one"), add_head("T1 of another")]
        names = {label.title: 60 * number for number, label in enumerate(TISSUE.labels, start=1)}
        for head in heads:
            add_segmentation(head, {**names, "something else": 240})
        cases = scene_cases(slicer.mrmlScene, TISSUE)
        self.assertEqual([(case.problem, case.images["t1"].GetID()) for case in cases],
                         [("", head.GetID()) for head in heads])  # fmt: skip
        row = self.written(cases, TISSUE)[1]
        labels, _affine = finish(read_nifti(self.folder / row["labels"]))
        steps = np.minimum(slicer.util.arrayFromVolume(heads[1]) // 60, len(TISSUE.labels))
        expected = np.array([0, *(label.value for label in TISSUE.labels)])[steps]
        np.testing.assert_array_equal(labels.T, expected)

    def test_nested_regions_become_labels(self) -> None:
        for name in ("a_t1", "a_t1ce", "a_t2", "a_flair"):
            volume = add_head(name)
        add_segmentation(volume, {"ET": 240, "WT": 60, "TC": 120})
        (case,) = scene_cases(slicer.mrmlScene, TUMOUR)
        self.assertEqual((case.problem, set(case.images)), ("", {"t1", "t1gd", "t2", "flair"}))
        (row,) = self.written([case], TUMOUR)
        labels, _affine = finish(read_nifti(self.folder / row["labels"]))
        image = slicer.util.arrayFromVolume(volume)
        value = {label.name: label.value for label in TUMOUR.labels}
        expected = np.select([image >= 240, image >= 120, image >= 60], [value["ET"], value["NCR"], value["ED"]], 0)
        np.testing.assert_array_equal(labels.T, expected)

    def test_what_cannot_be_used_says_why(self) -> None:
        volume = add_head("T1")
        add_segmentation(volume, {"skull": 60})
        self.assertIn("no segment of this task", scene_cases(slicer.mrmlScene, TISSUE)[0].problem)
        self.assertIn("T2", scene_cases(slicer.mrmlScene, TUMOUR)[0].problem)
        slicer.mrmlScene.Clear(0)
        add_head("T1")
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "empty")
        self.assertIn("no voxels", scene_cases(slicer.mrmlScene, TISSUE)[0].problem)

    def test_from_the_tab_to_the_engine(self) -> None:
        add_label_map(add_head("T1"))
        for box, value in (("purposeComboBox", "finetune"), ("sourceComboBox", "scene")):
            control = getattr(self.controls, box)
            control.setCurrentIndex(control.findData(value))
        names = [self.controls.datasetComboBox.itemData(row) for row in range(self.controls.datasetComboBox.count)]
        self.assertEqual(names, ["tissue", "tumour"])  # how files of BraTS are named says nothing here
        self.controls.storePathLineEdit.setCurrentPath(str(self.folder / "store"))
        self.assertEqual(self.controls.volumesList.item(0).text(), "labels: t1 T1")
        self.assertIn("Select the cases", self.controls.prepareButton.toolTip)
        self.controls.volumesList.item(0).setCheckState(2)
        slicer.app.processEvents()
        self.controls.prepareButton.click()
        wait_for(lambda: self.runner.process)
        words, tree = self.runner.process.arguments, self.folder / "store-scans"
        self.assertEqual(words[2:8], ["prepare", "finetune", "--data", str(tree / TABLE), "--dataset", "tissue"])
        self.assertTrue((tree / "case-001" / "labels.nii").is_file())
        self.controls.prepareButton.click()
        self.controls.datasetComboBox.setCurrentIndex(1)
        self.assertIn("T2", self.controls.volumesList.item(0).text())
        self.assertFalse(self.controls.prepareButton.enabled)
