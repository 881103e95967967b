"""Tests of the panel that need an application: 3D Slicer, or what stands in for it in continuous integration."""

from __future__ import annotations

import unittest


def suite() -> unittest.TestSuite:
    """All of them."""
    from . import test_events, test_panel, test_run_folder, test_watch

    load = unittest.defaultTestLoader.loadTestsFromModule
    return unittest.TestSuite([load(module) for module in (test_panel, test_run_folder, test_events, test_watch)])
