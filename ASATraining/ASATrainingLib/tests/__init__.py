"""Tests of the panel that need an application: 3D Slicer, or what stands in for it in continuous integration."""

from __future__ import annotations

import unittest


def suite() -> unittest.TestSuite:
    """All of them."""
    from . import test_panel, test_run_folder

    load = unittest.defaultTestLoader.loadTestsFromModule
    return unittest.TestSuite([load(test_panel), load(test_run_folder)])
