"""Panel tests that need an application: 3D Slicer, or its stand-in in continuous integration."""

from __future__ import annotations

import unittest


def suite() -> unittest.TestSuite:
    """All of them."""
    from ASASegmentationLib.tests import (
        test_bad_input,
        test_before,
        test_correct,
        test_dicom,
        test_edits,
        test_first_minutes,
        test_offline,
        test_panel,
        test_progress,
        test_record,
        test_suggestions,
        test_visits,
        test_widths,
    )

    load = unittest.defaultTestLoader.loadTestsFromModule
    modules = (
        test_before,
        test_dicom,
        test_suggestions,
        test_offline,
        test_panel,
        test_edits,
        test_record,
        test_correct,
        test_bad_input,
        test_progress,
        test_first_minutes,
        test_visits,
        test_widths,
    )
    return unittest.TestSuite([load(module) for module in modules])
