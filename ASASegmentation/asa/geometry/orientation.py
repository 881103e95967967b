"""Which way up a head lies: its header compared with what the image shows.

Headers lie: converters lose direction cosines, and programs write unit matrices. The atlas is compared with the scan
in all 24 turns by right angles. It is symmetric about the mid-sagittal plane, so a reflection looks like the turn
that is its mirror image: a head whose left and right alone are exchanged cannot be told from a correct one, and of a
head that was turned it is not known which side is left.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from asa.geometry.fit import RIGID, SCALES, Fit
from asa.geometry.search import Foreground, starts
from asa.volume import Volume
from asa.volume.grid import Affine, Grid

Turn = npt.NDArray[np.float64]

# Start values of each turn: forward tilts in degrees, and heights in mm.
PITCHES, RISES_MM = (-25, 0, 25), (-20.0, 0.0, 20.0)
# So many turns are fitted closer than by their start values, and so many of these again at a finer level.
FITTED, CONFIRMED = 6, 3
# Part of its cost by which another turn must be better than the header's: the header is right far more often.
MARGIN = 0.02


def right_angle_turns() -> list[Turn]:
    """The 24 rotations (3×3) that map the axes R, A, S onto one another; the identity is the first."""
    found = []
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)):
        matrix = np.eye(3)[list(order)] * np.asarray(signs)[:, None]
        if np.linalg.det(matrix) > 0:
            found.append(matrix)
    return found


def find_turn(foreground: Foreground, search: Fit, coarse: Fit, middle: Fit) -> Turn:
    """Return the 3×3 turn by right angles, brain frame → scan, in which the scan is most like a head.

    Args:
        foreground: the bright voxels of the scan.
        search: a fit of the scan with few points, which tries all turns.
        coarse: a fit at the first level of the alignment.
        middle: a fit at its second level; both decide where the header does not come first.
    """
    turns = right_angle_turns()
    begun = []  # the best start value of each turn, with its cost
    for turn in turns:
        costs = [(search.cost(pose), pose) for pose in starts(foreground, turn, PITCHES, (0,), RISES_MM)]
        begun.append(min(costs, key=lambda found: found[0]))
    ranked = sorted(range(len(turns)), key=lambda n: begun[n][0])[:FITTED]
    fitted = {n: search.improve(begun[n][1], RIGID, 8) for n in dict.fromkeys((0, *ranked))}
    ranked = sorted(fitted, key=lambda n: fitted[n][1])
    if ranked[0] == 0:
        return turns[0]
    confirmed: dict[int, float] = {}
    for n in dict.fromkeys((0, *ranked[:CONFIRMED])):
        closer, _ = coarse.improve(fitted[n][0], RIGID, 10)
        matrix, cost = middle.improve(closer, SCALES, 12)
        reached = _nearest(matrix, turns)  # a fit may leave the turn that it began with
        confirmed[reached] = min(cost * (1 - MARGIN if reached == 0 else 1), confirmed.get(reached, np.inf))
    return turns[min(confirmed, key=confirmed.__getitem__)]


def turned(volume: Volume, matrix: Affine) -> Volume:
    """Return a volume moved by a 4×4 matrix in world mm; its voxels stay."""
    return replace(volume, grid=Grid(volume.grid.shape, matrix @ volume.grid.affine))


def about(centre: npt.NDArray[np.float64], turn: Turn) -> Affine:
    """The 4×4 matrix of a turn (3×3) about a point (3,) in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre - turn @ centre
    return matrix


def described(turn: Turn) -> str:
    """How a head lies that a 3×3 turn brings from the brain frame into its file, in words."""
    names = (("right", "left"), ("front", "back"), ("top", "bottom"))
    shown = []
    for axis, what in ((1, "face"), (2, "vertex")):
        along = int(np.abs(turn[:, axis]).argmax())
        shown.append(f"{what} towards the {names[along][int(turn[along, axis] < 0)]}")
    return " and ".join(shown)


def _nearest(matrix: Affine, turns: list[Turn]) -> int:
    """Which of the turns is nearest to the rotation in a 4×4 matrix."""
    u, _, vh = np.linalg.svd(matrix[:3, :3])
    return max(range(len(turns)), key=lambda n: float(np.trace(turns[n].T @ u @ vh)))
