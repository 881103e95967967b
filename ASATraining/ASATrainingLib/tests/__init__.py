"""Panel tests that need an application: 3D Slicer, or its stand-in in continuous integration."""

from __future__ import annotations

import unittest


def suite() -> unittest.TestSuite:
    """All of them."""
    from ASATrainingLib.tests import (
        test_data,
        test_events,
        test_inspect,
        test_inspect_volume,
        test_panel,
        test_publish,
        test_run,
        test_run_folder,
        test_scene_cases,
        test_watch,
        test_widths,
    )

    load = unittest.defaultTestLoader.loadTestsFromModule
    modules = [test_panel, test_run_folder, test_data, test_scene_cases, test_run, test_events, test_watch]
    modules += [test_inspect, test_inspect_volume, test_publish, test_widths]
    return unittest.TestSuite([load(module) for module in modules])
