"""Outputs of a segmentation: volumes, overview image, segmentation file and report.

Every file is written atomically; none carries a path, a file name or header text of the input, so that none can
carry a patient's name. The exception are DICOM files, which are written on request: their standard requires it.
"""

from __future__ import annotations

from asa.report.extras import write_extras
from asa.report.overlay import write_overlay
from asa.report.segmentation import SegmentationWriter, write_segmentation_file
from asa.report.summary import build_report
from asa.report.volumes import Measurement, measure, write_volumes

__all__ = [
    "Measurement",
    "SegmentationWriter",
    "build_report",
    "measure",
    "write_extras",
    "write_overlay",
    "write_segmentation_file",
    "write_volumes",
]
