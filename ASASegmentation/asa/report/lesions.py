"""Lesions one by one: how many, how large, and where.

A lesion is a connected part (26 neighbours) of a label. Its location is the first of these that holds:

1. infratentorial: most of it lies in the cerebellum or brainstem
2. periventricular: it comes within 3 mm of the ventricles
3. juxtacortical: it comes within 4 mm of the cortex
4. deep: all others

The distances are those of Kim, MacFall and Payne, *Classification of white matter lesions on magnetic resonance imaging
in elderly persons*, Biological Psychiatry 64 (2008) 273–280 (there: juxtaventricular, juxtacortical); the names are
those of the MRI criteria of multiple sclerosis (Thompson et al., Lancet Neurology 17 (2018) 162–173). Ventricles and
cortex are those that the tissue model finds in this head. Cortex and deep grey matter, cerebrum and what lies below the
tentorium are told apart by their place in MNI152 space (:mod:`asa.geometry.places`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.files import write_text
from asa.geometry import Alignment, from_frame, to_frame
from asa.geometry.places import is_cortical, is_infratentorial
from asa.request import SegmentRequest
from asa.tasks import TASKS, TISSUE
from asa.volume import Grid, Volume, read_scan

if TYPE_CHECKING:
    from asa.inference import SegmentResult

VENTRICLE_MM, CORTEX_MM = 3.0, 4.0
_CONNECTIVITY = ndimage.generate_binary_structure(3, 3)  # 26 neighbours
_FAR_MM = 999.0  # where there is nothing to be far from


@dataclass(frozen=True)
class Lesion:
    """One row of lesions.csv.

    Attributes:
        number: from 1, by volume.
        location: periventricular, juxtacortical, deep or infratentorial.
        volume_ml: in mL.
        ventricle_mm: least distance from the ventricles, mm.
        cortex_mm: least distance from the cortex, mm.
        mni_x_mm: centre in MNI152 space, right of the mid-plane, mm.
        mni_y_mm: the same, anterior.
        mni_z_mm: the same, superior.
    """

    number: int
    location: str
    volume_ml: float
    ventricle_mm: float
    cortex_mm: float
    mni_x_mm: float
    mni_y_mm: float
    mni_z_mm: float


def find_lesions(request: SegmentRequest, result: SegmentResult) -> tuple[Lesion, ...]:
    """List the lesions of a result, the largest first.

    The tissue model runs on the T1, or on the reference image where none was given.

    Raises:
        InputError: an image cannot be read again, or it shows no brain.
    """
    from asa.inference.stripping import TissueModel  # late: it imports torch

    mask = np.isin(result.labels.array, TASKS[request.task].lesions)
    if not mask.any():
        return ()
    scan, alignment = result.image, result.alignment
    if "t1" in result.series and result.reference != "t1":
        scan = read_scan(request.images["t1"])
        matrix = np.array(result.series["t1"]["frame_to_scan"], dtype=np.float64)
        alignment = Alignment(matrix, alignment.method, alignment.quality)
    tissue = TissueModel(device=request.device).labels(to_frame(scan, alignment))
    on_grid = from_frame(tissue, result.alignment, result.labels.grid, order=0).array
    return describe_lesions(result.labels.with_array(mask), on_grid, result.alignment)


def describe_lesions(lesions: Volume, tissue: npt.NDArray[np.integer], alignment: Alignment) -> tuple[Lesion, ...]:
    """Measure each lesion and find its location.

    Args:
        lesions: mask (T, H, W).
        tissue: labels of the tissue task on the same grid.
        alignment: of this grid with the brain frame.

    Returns:
        The lesions, the largest first.
    """
    values = {label.name: label.value for label in TISSUE.labels}
    parts, count = ndimage.label(lesions.array, _CONNECTIVITY)
    indices = range(1, count + 1)
    outside = parts == 0
    points = _in_frame(lesions.grid, np.argwhere(~outside), alignment)
    below = np.zeros(parts.shape, bool)
    below[~outside] = is_infratentorial(points)
    grey = np.argwhere((tissue == values["GM"]) & outside)
    cortex = np.zeros(parts.shape, bool)
    cortex[tuple(grey[is_cortical(_in_frame(lesions.grid, grey, alignment))].T)] = True
    ventricle_mm = _least(parts, count, (tissue == values["ventricles"]) & outside, lesions.spacing)
    cortex_mm = _least(parts, count, cortex, lesions.spacing)
    sizes = ndimage.sum_labels(~outside, parts, indices)
    share_below = ndimage.mean(below, parts, indices)
    centres = _in_frame(lesions.grid, np.array(ndimage.center_of_mass(~outside, parts, indices)), alignment)
    order = np.argsort(-sizes, kind="stable")
    return tuple(
        Lesion(
            number,
            _location(float(share_below[i]), float(ventricle_mm[i]), float(cortex_mm[i])),
            round(float(sizes[i]) * lesions.grid.voxel_volume_ml, 4),
            round(float(ventricle_mm[i]), 1),
            round(float(cortex_mm[i]), 1),
            *(round(float(x), 1) for x in centres[i]),
        )
        for number, i in enumerate(order, 1)
    )


def write_lesions(lesions: Sequence[Lesion], path: Path) -> None:
    """Write the table; without lesions it has its heading alone.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[one.name for one in fields(Lesion)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, lesions))
    write_text(path, text.getvalue())


def _location(share_below: float, ventricle_mm: float, cortex_mm: float) -> str:
    if share_below > 0.5:
        return "infratentorial"
    if ventricle_mm <= VENTRICLE_MM:
        return "periventricular"
    return "juxtacortical" if cortex_mm <= CORTEX_MM else "deep"


def _least(
    parts: npt.NDArray[np.integer], count: int, target: npt.NDArray[np.bool_], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return the least distance of each part from a target, mm."""
    if not target.any():
        return np.full(count, _FAR_MM)
    distance = ndimage.distance_transform_edt(~target, sampling=spacing)
    least: npt.NDArray[np.float64] = ndimage.minimum(distance, parts, range(1, count + 1))
    return least


def _in_frame(grid: Grid, indices: npt.NDArray[np.number], alignment: Alignment) -> npt.NDArray[np.float64]:
    """Return voxel indices (n, 3) of a scan as points of MNI152 space, RAS mm."""
    inverse = np.linalg.inv(alignment.matrix)
    points: npt.NDArray[np.float64] = grid.to_world(indices) @ inverse[:3, :3].T + inverse[:3, 3]
    return points
