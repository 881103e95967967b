"""Image type shared by all packages: an array (T, H, W) with its grid.

T runs inferior→superior, H posterior→anterior, W left→right, whatever order the file had; the affine maps indices
(t, h, w) to RAS+ millimetres. Files are read and written in their own order.
"""

from asa.volume.background import standardise
from asa.volume.checks import acquisition_warnings
from asa.volume.grid import Grid
from asa.volume.image import StorageOrder, Volume
from asa.volume.reading import read_scan, read_volume
from asa.volume.writing import write_volume

__all__ = [
    "Grid",
    "StorageOrder",
    "Volume",
    "acquisition_warnings",
    "read_scan",
    "read_volume",
    "standardise",
    "write_volume",
]
