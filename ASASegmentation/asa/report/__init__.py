"""What a person gets from a segmentation: volumes, a picture, a segmentation file and a report.

Every file is written atomically; none carries a path, a file name or header text of the input, so that none can
carry a patient's name.
"""

from __future__ import annotations

from .overlay import write_overlay
from .segmentation import write_segmentation_file
from .summary import build_report
from .volumes import Measurement, measure, write_volumes

__all__ = ["Measurement", "build_report", "measure", "write_overlay", "write_segmentation_file", "write_volumes"]
