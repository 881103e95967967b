"""Panel tests that need an application: 3D Slicer, or its stand-in in continuous integration."""

from __future__ import annotations

import unittest


def suite() -> unittest.TestSuite:
    """All of them."""
    from ASASegmentationLib.tests import (
        test_bad_input,
        test_before,
        test_correct,
        test_edits,
        test_panel,
        test_record,
        test_suggestions,
    )

    load = unittest.defaultTestLoader.loadTestsFromModule
    modules = (test_before, test_suggestions, test_panel, test_edits, test_record, test_correct, test_bad_input)
    return unittest.TestSuite([load(module) for module in modules])
