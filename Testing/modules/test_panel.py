"""The panel's own tests, which also run inside 3D Slicer; and how Slicer gets to them."""

from __future__ import annotations

import unittest
from unittest import mock

import driving
import pytest

from ASASegmentationLib import tests
from ASASegmentationLib.tests.test_bad_input import TestBadInput  # noqa: F401
from ASASegmentationLib.tests.test_before import TestBeforeSegmenting  # noqa: F401
from ASASegmentationLib.tests.test_correct import TestCorrect  # noqa: F401
from ASASegmentationLib.tests.test_dicom import TestDicom  # noqa: F401
from ASASegmentationLib.tests.test_edits import TestEdits  # noqa: F401
from ASASegmentationLib.tests.test_first_minutes import TestFirstMinutes, TestMissingSurfaces  # noqa: F401
from ASASegmentationLib.tests.test_offline import TestOfflinePackages  # noqa: F401
from ASASegmentationLib.tests.test_panel import TestSegmenting  # noqa: F401
from ASASegmentationLib.tests.test_progress import TestDurations, TestProgress  # noqa: F401
from ASASegmentationLib.tests.test_record import TestRecord  # noqa: F401
from ASASegmentationLib.tests.test_suggestions import TestSuggestions  # noqa: F401
from ASASegmentationLib.tests.test_visits import TestVisits  # noqa: F401
from ASASegmentationLib.tests.test_widths import TestWidths  # noqa: F401


def test_the_module_file_runs_them_and_fails_when_they_do() -> None:
    module = driving.open_module("ASASegmentation")
    test = __import__("ASASegmentation").ASASegmentationTest()
    assert tests.suite().countTestCases() > 20
    for broken in (False, True):
        case = unittest.FunctionTestCase(lambda broken=broken: None if not broken else 1 / 0)
        with mock.patch.object(tests, "suite", lambda case=case: unittest.TestSuite([case])):
            if broken:
                with pytest.raises(AssertionError, match="1 tests failed"):
                    test.runTest()
            else:
                test.runTest()
    module.close()
