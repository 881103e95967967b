"""Where things are: resampling between grids, the brain frame, and the alignment of a head with it.

Together with ``volume`` this is all that touches an affine.
"""

from .frame import FRAME, centre_crop_grid, from_frame, template_brain, to_frame
from .register import Alignment, align_to_frame
from .resample import resample

__all__ = [
    "FRAME",
    "Alignment",
    "align_to_frame",
    "centre_crop_grid",
    "from_frame",
    "resample",
    "template_brain",
    "to_frame",
]
