"""The laboratory's own tests, which also run inside 3D Slicer; and how Slicer gets to them."""

from __future__ import annotations

from pathlib import Path

import driving
import numpy as np
import slicer

from asa.data.datasets import dataset_by_name
from asa.data.survey import survey_cases
from asa.tasks import TASKS
from ASASlicerLib.steps import finish
from ASASlicerLib.tests.fakes import add_head
from ASATrainingLib import tests
from ASATrainingLib.data.scene_cases import TABLE, scene_cases, write_cases
from ASATrainingLib.tests.test_data import TestData  # noqa: F401
from ASATrainingLib.tests.test_events import TestCurves, TestEventReader  # noqa: F401
from ASATrainingLib.tests.test_inspect import TestBadInput, TestLooking, TestPatches, TestScrubbing  # noqa: F401
from ASATrainingLib.tests.test_inspect_volume import TestAnotherVolume  # noqa: F401
from ASATrainingLib.tests.test_panel import TestChoosingARun  # noqa: F401
from ASATrainingLib.tests.test_publish import TestPublishing  # noqa: F401
from ASATrainingLib.tests.test_run import TestControlling, TestForm, TestRunControl, TestSetting, TestStarting  # noqa: F401
from ASATrainingLib.tests.test_run_folder import TestRunFolder  # noqa: F401
from ASATrainingLib.tests.test_scene_cases import TestSceneCases, add_label_map, add_segmentation  # noqa: F401
from ASATrainingLib.tests.test_watch import TestTensorBoard, TestWatching  # noqa: F401
from ASATrainingLib.tests.test_widths import TestErrorsInView, TestWidths  # noqa: F401


def test_the_module_file_opens_and_names_its_tests() -> None:
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    assert panel.ui.tabWidget.count == len(panel.tabs)
    assert tests.suite().countTestCases() > 10
    module.close()


def test_the_engine_reads_what_is_written_of_the_scene(tmp_path: Path) -> None:
    """A left-handed scan under a transform with a label map, whose grid the engine compares with the scan's."""
    slicer.mrmlScene.Clear(0)
    volume = add_head("T1", np.array([[0, 0, 2.0, -40], [2.0, 0, 0, -50], [0, -2.0, 0, 30], [0, 0, 0, 1]]))
    labels = add_label_map(volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for node in (volume, labels):
        node.SetAndObserveTransformNodeID(transform.GetID())
    finish(write_cases(scene_cases(slicer.mrmlScene, TASKS["tissue"]), TASKS["tissue"], tmp_path / "map"))
    slicer.mrmlScene.RemoveNode(labels)
    add_segmentation(volume, {"Grey matter": 60, "WM": 180})
    finish(write_cases(scene_cases(slicer.mrmlScene, TASKS["tissue"]), TASKS["tissue"], tmp_path / "segments"))
    for folder in ("map", "segments"):
        (found,) = survey_cases(dataset_by_name("tissue"), tmp_path / folder / TABLE)
        assert (found.problems, found.labels, found.subject) == ((), True, "subject-001"), folder
    slicer.mrmlScene.Clear(0)
