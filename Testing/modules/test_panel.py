"""The panel's own tests, which also run inside 3D Slicer."""

from ASASegmentationLib.tests.test_panel import (  # noqa: F401
    TestBeforeSegmenting,
    TestEdits,
    TestSegmenting,
)
