"""Geometry: resampling between grids, the brain frame, and alignment of scans to it.

Together with ``volume`` this is all that touches an affine.
"""

from asa.geometry.contrast import TissueContrast, tissue_contrast
from asa.geometry.frame import (
    FRAME,
    box_slices,
    centre_box,
    centre_crop_grid,
    from_frame,
    share_from_frame,
    template_brain,
    template_overlap,
    template_white_matter,
    to_frame,
)
from asa.geometry.orientation import described
from asa.geometry.register import Alignment, align_to_frame, size_deviation
from asa.geometry.resample import resample
from asa.geometry.rigid import agreement, brain_region, register_rigid, upright
from asa.geometry.stripped import is_stripped

__all__ = [
    "FRAME",
    "Alignment",
    "TissueContrast",
    "agreement",
    "align_to_frame",
    "box_slices",
    "brain_region",
    "centre_box",
    "centre_crop_grid",
    "described",
    "from_frame",
    "is_stripped",
    "register_rigid",
    "resample",
    "share_from_frame",
    "size_deviation",
    "template_brain",
    "template_overlap",
    "template_white_matter",
    "tissue_contrast",
    "to_frame",
    "upright",
]
