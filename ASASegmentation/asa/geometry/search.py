"""Initial pose of a head: start values for the fit, and the fallback when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.geometry.fit import CENTRE, STRAIN_MEAN
from asa.volume import Volume
from asa.volume.grid import Affine

# Grey levels below this part of the range are background, CSF or bone.
FOREGROUND_LEVEL = 0.15
# Brains with their sulcal CSF stay below; heads, children's too, above.
MAX_BRAIN_ML = 2200.0
# A brain touches the end of its field of view at a few points, a head is cut off there.
MAX_BRAIN_ON_FACE = 0.3
# A slice at the end of the field of view with this part of the widest slice is no cap, the scan ends before the head.
MAX_CAP = 0.3
# Top of the template's scalp above the centre of the brain frame, mm.
SCALP_TOP_MM = 85.0
# The part of a whole head, from its top downwards, whose middle is the middle of the brain.
CRANIUM_MM = 120.0

PITCHES = (-45, -30, -15, 0, 15, 30, 45)
SIDEWAYS = (-20, 0, 20)
RISES_MM = (-25.0, 0.0, 25.0)


@dataclass(frozen=True, eq=False)
class Foreground:
    """The bright voxels of a scan.

    points: (n, 3) their RAS mm.
    stripped: whether they are a brain without a head around it.
    cut: whether they extend beyond the field of view.
    """

    points: npt.NDArray[np.float64]
    stripped: bool
    cut: bool

    @classmethod
    def of(cls, scan: Volume, stripped: bool | None) -> Foreground:
        """From a small copy of the scan whose grey levels begin at 0; ``stripped`` None: found out."""
        level = FOREGROUND_LEVEL * float(scan.array.max())
        parts, count = ndimage.label(scan.array > level)
        largest = 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
        mask = parts == largest
        points = scan.grid.to_world(np.argwhere(mask))
        areas = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        ends = [(area[end], area.max(), mask.size / len(area)) for area in areas for end in (0, -1)]
        cut = any(end > MAX_CAP * widest for end, widest, _ in ends)
        if stripped is None:
            volume_ml = len(points) * scan.grid.voxel_volume_ml
            filled = any(end > MAX_BRAIN_ON_FACE * face for end, _, face in ends)
            stripped = volume_ml < MAX_BRAIN_ML and not filled
        return cls(points, stripped, cut)

    def pose(self, rotation: npt.NDArray[np.float64]) -> Affine:
        """Matrix frame mm → scan mm with a given 3×3 rotation, placed by the outline of the foreground."""
        scale = np.exp(STRAIN_MEAN)
        turned = self.points @ rotation  # in the axes of the brain frame
        top = np.percentile(turned[:, 2], 99.8)
        if self.stripped:
            middle = turned.mean(axis=0)
        else:
            cranium = turned[turned[:, 2] > top - CRANIUM_MM]
            middle = 0.5 * (np.percentile(cranium, 1, axis=0) + np.percentile(cranium, 99, axis=0))
            middle[2] = top - SCALP_TOP_MM * scale[2]
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * scale
        matrix[:3, 3] = rotation @ middle - matrix[:3, :3] @ CENTRE
        return matrix


def starts(
    foreground: Foreground,
    turn: npt.NDArray[np.float64] | None = None,
    pitches: Sequence[float] = PITCHES,
    sideways: Sequence[float] = SIDEWAYS,
    rises_mm: Sequence[float] = RISES_MM,
) -> list[Affine]:
    """Matrices from which one should lead the fit home: turns about all axes, raised and lowered.

    Their set is its own mirror image.

    Args:
        foreground: the bright voxels of the scan.
        turn: 3×3, brain frame → scan, how the head lies before these turns; None: upright.
        pitches: degrees forwards.
        sideways: degrees of rolls, and of yaws.
        rises_mm: heights.
    """
    found = []
    for pitch, roll, yaw in product(pitches, sideways, sideways):
        rotation = rotation_matrix(pitch, roll, yaw)
        pose = foreground.pose(rotation if turn is None else turn @ rotation)
        for rise in rises_mm:
            raised = pose.copy()
            raised[:3, 3] += pose[:3, 2] * rise
            found.append(raised)
    return found


def rotation_matrix(pitch: float, roll: float, yaw: float) -> npt.NDArray[np.float64]:
    """3×3 rotation by degrees about the left–right, then the posterior–anterior and the inferior–superior axis."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((pitch, roll, yaw)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[a, a], about[a, b], about[b, a], about[b, b] = c, -s, s, c
        matrix = about @ matrix
    return matrix


def estimate(scan: Volume, foreground: Foreground) -> Affine:
    """Matrix frame mm → scan mm from the mid-sagittal plane and the outline alone; the head is taken as upright.

    The plane is the one in which the scan is most like its own mirror image.
    """
    from scipy import optimize  # late: it is slow to import, and seldom needed

    points = foreground.points[:: max(1, len(foreground.points) // 4000)]
    to_index = np.linalg.inv(scan.grid.affine)
    smooth = ndimage.gaussian_filter(scan.array, 4.0 / np.asarray(scan.spacing))

    def sample(at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        index = to_index[:3, :3] @ at.T + to_index[:3, 3:]
        values: npt.NDArray[np.float64] = ndimage.map_coordinates(smooth, index, order=1, mode="nearest")
        return values

    values = sample(points)
    middle = points.mean(axis=0)

    def asymmetry(plane: npt.NDArray[np.float64]) -> float:
        roll, yaw, shift = plane
        normal = rotation_matrix(0, roll, yaw)[:, 0]
        distance = (points - middle) @ normal - shift
        return -float(np.corrcoef(values, sample(points - 2 * distance[:, None] * normal))[0, 1])

    grid = product((-20, -10, 0, 10, 20), (-20, -10, 0, 10, 20), (-8, 0, 8))
    start = min((np.array(plane, dtype=np.float64) for plane in grid), key=asymmetry)
    simplex = start + np.concatenate([np.zeros((1, 3)), 4 * np.eye(3)])
    plane = optimize.minimize(asymmetry, start, method="Nelder-Mead", options={"initial_simplex": simplex}).x
    rotation = rotation_matrix(0, plane[0], plane[1])
    matrix = foreground.pose(rotation)
    # The outline gave the height and the depth, the plane gives the side.
    on_plane = middle + plane[2] * rotation[:, 0]
    matrix[:3, 3] += rotation[:, 0] * ((on_plane - matrix[:3, 3]) @ rotation[:, 0])
    return matrix
