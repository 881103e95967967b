"""Parts of the brain by their place in MNI152 space, where an affine alignment is all that is known.

Each is a quadratic function of the distance from the mid-plane, y and z, fitted by logistic regression to the labels of
ten heads (every second of SynthSeg's training label maps) whose brains were brought to the extent of the template's.
Measured on each head with a function fitted to the other nine: cerebellum and brainstem 97 % of the voxels right (89 %
of theirs, 98 % of the others'; worst head 74 and 94 %); cortex against deep grey matter 98 % (99 and 89 %; worst head
98 and 79 %).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_UNIT_MM = 50.0
# Of 1, |x|, y, z, x², y², z², |x|·y, |x|·z, y·z.
_INFRATENTORIAL = (-2.15, -20.74, -7.76, -16.1, 2.15, -5.42, -6.93, -8.07, -9.17, -2.96)
_CORTICAL = (1.88, -37.6, 3.5, -11.82, 49.32, 14.57, 17.9, 3.96, 13.78, -2.89)

Points = npt.NDArray[np.float64]


def is_infratentorial(points: Points) -> npt.NDArray[np.bool_]:
    """Return which points (n, 3) of the brain, RAS mm in MNI152 space, lie in the cerebellum or the brainstem."""
    return _quadratic(points, _INFRATENTORIAL) > 0


def is_cortical(points: Points) -> npt.NDArray[np.bool_]:
    """Return which points (n, 3) of grey matter, RAS mm in MNI152 space, lie in the cortex and not in deep nuclei.

    Grey matter of the cerebellum was not distinguished from either.
    """
    return _quadratic(points, _CORTICAL) > 0


def _quadratic(points: Points, weights: tuple[float, ...]) -> Points:
    x, y, z = np.asarray(points, dtype=np.float64).T / _UNIT_MM
    x = np.abs(x)
    terms = (np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)
    total: Points = sum((weight * term for weight, term in zip(weights, terms, strict=True)), np.zeros_like(x))
    return total
