"""The laboratory's own tests, which also run inside 3D Slicer; and how Slicer gets to them."""

from __future__ import annotations

import driving

from ASATrainingLib import tests
from ASATrainingLib.tests.test_data import TestData  # noqa: F401
from ASATrainingLib.tests.test_events import TestCurves, TestEventReader  # noqa: F401
from ASATrainingLib.tests.test_inspect import TestBadInput, TestLooking, TestPatches, TestScrubbing  # noqa: F401
from ASATrainingLib.tests.test_panel import TestChoosingARun  # noqa: F401
from ASATrainingLib.tests.test_publish import TestPublishing  # noqa: F401
from ASATrainingLib.tests.test_run import TestControlling, TestForm, TestRunControl, TestSetting, TestStarting  # noqa: F401
from ASATrainingLib.tests.test_run_folder import TestRunFolder  # noqa: F401
from ASATrainingLib.tests.test_scene_cases import TestSceneCases  # noqa: F401
from ASATrainingLib.tests.test_watch import TestTensorBoard, TestWatching  # noqa: F401


def test_the_module_file_opens_and_names_its_tests() -> None:
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    assert panel.ui.tabWidget.count == len(panel.tabs)
    assert tests.suite().countTestCases() > 10
    module.close()
