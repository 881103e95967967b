"""Fit the atlas to a scan: affine matrix and tissue brightness jointly.

The scan at the atlas' points is modelled as a mixture, I(M x) ≈ Σ_k β_k p_k(x): the correlation ratio of Roche et al.
(MICCAI 1998) with tissue probabilities in the place of grey-level bins. For a given matrix M the brightnesses β are a
linear least-squares problem, and so is a smooth shading (bias field) that multiplies the mixture; they are projected
out (variable projection), and M follows by Gauss–Newton steps with the mean of the scan's and the model's gradient
(Malis, ICRA 2004), which converge from far. Residuals are weighted down as they grow (Cauchy), so that lesions,
resections and missing skull do not pull.

All points, sums and start values are symmetric about x = 0 and nothing is drawn at random: a mirrored scan gives the
mirrored matrix, and the same scan the same matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, ndimage

from asa.geometry.atlas import AtlasLevel, Floats
from asa.volume import Volume
from asa.volume.grid import Affine

# Residuals beyond this part of the scan's standard deviation count as outliers.
OUTLIER = 0.6
# What a point outside the field of view costs: more than a good match, less than a bad one.
UNSEEN_COST = 0.5
# MNI152 is larger than most heads: mean strain (natural logarithm of the scale, frame mm → scan mm) along R, A, S over
# adults, and the spread that is allowed around it.
STRAIN_MEAN = np.array([-0.08, -0.04, -0.16])
STRAIN_SPREAD, SHEAR_SPREAD = 0.08, 0.04
# Neighbouring residuals are alike; this many points count as one independent observation per (9 mm)³.
INDEPENDENT_MM3 = 9.0**3
# A step that raises the log-likelihood by less is the last.
ENOUGH = 0.02
# Shading is a polynomial of second degree in this unit.
SHADING_MM = 80.0
CENTRE = np.array([0.0, -17.0, 5.0])

# Which increments a stage may use: translations and rotations, three scales, shears.
RIGID, SCALES, FULL = 6, 9, 12


def _generators() -> npt.NDArray[np.float64]:
    """(12, 3, 4) increments about the centre: moves (mm), turns, one scale, two differences of scales, shears."""
    g = np.zeros((12, 3, 4))
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        g[axis, axis, 3] = 1
        g[3 + axis, a, b], g[3 + axis, b, a] = -1, 1
        g[9 + axis, a, b] = g[9 + axis, b, a] = 1
    g[6, range(3), range(3)] = 1
    g[7, range(3), range(3)] = 1, -1, 0
    g[8, range(3), range(3)] = 0.5, 0.5, -1
    return g


GENERATORS = _generators()


@dataclass(frozen=True, eq=False)
class ScanLevel:
    """A smoothed scan that can be sampled at points in mm.

    array: (T, H, W).
    slopes: (3, T, H, W), its differences along each array axis.
    to_index: 4×4, RAS mm → indices.
    beyond: value outside the field of view; none: unknown.
    """

    array: Floats
    slopes: Floats
    to_index: Affine
    beyond: float | None

    @classmethod
    def of(cls, volume: Volume, blur_mm: float, beyond: float | None) -> ScanLevel:
        """Return the scan smoothed to a standard deviation of ``blur_mm``; what its voxels already blur is left out."""
        own = np.asarray(volume.spacing) * 0.3
        sigma = np.sqrt(np.maximum(blur_mm**2 - own**2, 0)) / np.asarray(volume.spacing)
        edge = {"mode": "nearest"} if beyond is None else {"mode": "constant", "cval": beyond}
        array = ndimage.gaussian_filter(volume.array, sigma, **edge)
        slopes = np.stack(np.gradient(array))
        return cls(array, slopes, np.linalg.inv(volume.grid.affine).astype(np.float64), beyond)

    def sample(self, points: npt.NDArray[np.float64]) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Return the values (n,), which of them are known (n,), and the indices (3, n) of points (n, 3) in RAS mm."""
        at = self.to_index[:3, :3] @ points.T + self.to_index[:3, 3:]
        size = np.asarray(self.array.shape)[:, None]
        if self.beyond is None:
            known = np.all((at > -0.5) & (at < size - 0.5), axis=0)
            values = ndimage.map_coordinates(self.array, at, order=1, mode="nearest")
        else:
            known = np.ones(len(points), dtype=bool)
            values = ndimage.map_coordinates(self.array, at, order=1, mode="constant", cval=self.beyond)
        return values, known, at

    def gradient(self, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, 3) change per mm along R, A, S at indices (3, n)."""
        outside = "nearest" if self.beyond is None else "constant"
        along = np.stack([ndimage.map_coordinates(s, at, order=1, mode=outside) for s in self.slopes], axis=1)
        gradient: npt.NDArray[np.float64] = along @ self.to_index[:3, :3]
        return gradient


@dataclass(frozen=True, eq=False)
class _State:
    """One matrix, evaluated. Arrays run over the atlas' points, ``brightness`` over the tissues.

    design: (n, K + S) what the scan is a linear combination of: tissues, and their mixture times the shading fields.
    shading: the factor that multiplies the mixture.
    """

    cost: float
    explained: float
    seen: npt.NDArray[np.float64]
    design: Floats
    residual: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]
    shading: npt.NDArray[np.float64]
    scale: float
    at: npt.NDArray[np.float64]


def strain(matrix: Affine) -> npt.NDArray[np.float64]:
    """(3, 3) symmetric logarithm of the stretch of a matrix: its diagonal holds logarithms of scales along x, y, z."""
    values, vectors = np.linalg.eigh(matrix[:3, :3].T @ matrix[:3, :3])
    log: npt.NDArray[np.float64] = (vectors * (0.5 * np.log(np.maximum(values, 1e-12)))) @ vectors.T
    return log


class Fit:
    """One scan level against one atlas level.

    shaded: whether a smooth bias field is fitted too; a coarse search does without.
    tightness: weight of the prior on the size and shape of heads.
    """

    def __init__(self, scan: ScanLevel, atlas: AtlasLevel, *, shaded: bool = True, tightness: float = 1.0) -> None:
        self._tightness = tightness
        self._scan = scan
        self._atlas = atlas
        self._observations = len(atlas.points) * min(1.0, atlas.spacing**3 / INDEPENDENT_MM3)
        self._local = np.concatenate([atlas.points - CENTRE, np.ones((len(atlas.points), 1))], axis=1)
        x, y, z = (self._local[:, :3] / SHADING_MM).astype(np.float32).T
        fields = (x, y, z, x * x, y * y, z * z, x * y, y * z, z * x) if shaded else ()
        self._fields = np.stack(fields, axis=1) if shaded else np.empty((len(x), 0), np.float32)

    def cost(self, matrix: Affine) -> float:
        """What is minimised; comparable between matrices of one ``Fit``."""
        return self._evaluate(matrix).cost

    def explained(self, matrix: Affine) -> float:
        """Correlation ratio 0…1: the part of the scan's variance that the tissues explain."""
        return self._evaluate(matrix).explained

    def explanation(self, matrix: Affine) -> tuple[npt.NDArray[np.float64], float]:
        """(K,) grey level of each tissue of the atlas, at the centre of the brain; and what :meth:`explained` gives."""
        state = self._evaluate(matrix)
        return state.brightness, state.explained

    def seen(self, matrix: Affine) -> float:
        """Return the part of the atlas' points that lies in the field of view."""
        return float(self._evaluate(matrix).seen.mean())

    def improve(self, matrix: Affine, freedom: int, steps: int) -> tuple[Affine, float]:
        """Up to ``steps`` Gauss–Newton steps with the first ``freedom`` increments. Returns matrix and cost."""
        state, damping = self._evaluate(matrix), 1e-3
        for _ in range(steps):
            curvature, slope = self._normal_equations(matrix, state, GENERATORS[:freedom])
            moved = False
            while damping < 1e3 and not moved:
                try:
                    step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
                except np.linalg.LinAlgError:  # the cost does not change along an axis, as where nothing is reached
                    return matrix, state.cost
                candidate = matrix @ _increment(-np.asarray(step, dtype=np.float64))
                new = self._evaluate(candidate)
                moved = new.cost < state.cost
                damping = max(damping / 5, 1e-6) if moved else damping * 8
            if not moved:
                break
            gain = state.cost - new.cost
            matrix, state = candidate, new
            if gain < ENOUGH:
                break
        return matrix, state.cost

    def _evaluate(self, matrix: Affine) -> _State:
        points = self._atlas.points @ matrix[:3, :3].T + matrix[:3, 3]
        values, known, at = self._scan.sample(points)
        seen = known.astype(np.float64)
        count = max(seen.sum(), 1.0)
        mean = float(seen @ values) / count
        variance = float(seen @ (values - mean) ** 2) / count + 1e-12
        scale = OUTLIER * np.sqrt(variance)

        tissues = self._atlas.tissues
        design, brightness = tissues, _regression(tissues, seen, values)
        weight = seen / (1 + ((values - tissues @ brightness) / scale) ** 2)
        if self._fields.size:
            mixture = tissues @ brightness.astype(np.float32)
            design = np.concatenate([tissues, mixture[:, None] * self._fields], axis=1)
        coefficients = _regression(design, weight, values)
        residual = values - design @ coefficients
        weight = seen / (1 + (residual / scale) ** 2)
        brightness, shades = np.split(coefficients, [tissues.shape[1]])
        shading = 1 + self._fields @ shades
        loss = float(seen @ np.log1p((residual / scale) ** 2)) + UNSEEN_COST * (len(values) - seen.sum())
        prior = self._tightness * float((_deviation(matrix) ** 2).sum())
        cost = 0.5 * self._observations * loss / len(values) + 0.5 * prior
        explained = max(0.0, 1 - float(seen @ residual**2) / count / variance)
        return _State(cost, explained, seen, design, residual, weight, brightness, shading, scale, at)

    def _normal_equations(
        self, matrix: Affine, state: _State, generators: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Curvature (k, k) and slope (k,) of the cost along the increments, brightness projected out."""
        scan_gradient = self._scan.gradient(state.at) @ matrix[:3, :3]
        model_gradient = np.einsum("nkd,k->nd", self._atlas.slopes, state.brightness) * state.shading[:, None]
        gradient = 0.5 * (scan_gradient + model_gradient)
        flow = np.einsum("nd,ne->nde", gradient, self._local).reshape(len(gradient), 12)
        moves = flow @ generators.reshape(len(generators), 12).T
        jacobian: npt.NDArray[np.floating] = moves - state.design @ _regression(state.design, state.weight, moves)
        factor = self._observations / len(gradient) / state.scale**2
        weighted = jacobian * (factor * state.weight)[:, None]
        curvature = weighted.T @ jacobian
        slope = weighted.T @ state.residual
        prior_curvature, prior_slope = _prior_equations(matrix, generators)
        return curvature + self._tightness * prior_curvature, slope + self._tightness * prior_slope


def _regression(
    design: Floats, weight: npt.NDArray[np.float64], values: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Coefficients (K,) or (K, m) of the weighted least-squares fit of values (n,) or (n, m) by the design (n, K)."""
    weighted = design * weight[:, None].astype(np.float32)
    gram = (weighted.T @ design).astype(np.float64)
    # A tissue outside the field of view has no brightness.
    gram += 1e-4 * np.trace(gram) / len(gram) * np.eye(len(gram))
    products = np.asarray(weighted.T @ values, dtype=np.float64)
    if not gram.any():  # nothing of the scan is reached
        return np.zeros_like(products)
    return np.asarray(np.linalg.solve(gram, products), dtype=np.float64)


def _deviation(matrix: Affine) -> npt.NDArray[np.float64]:
    """(6,) strain in units of its usual spread: three scales, three shears."""
    s = strain(matrix)
    scales = (np.diag(s) - STRAIN_MEAN) / STRAIN_SPREAD
    shears = s[(1, 2, 0), (2, 0, 1)] / SHEAR_SPREAD
    return np.concatenate([scales, shears])


def _prior_equations(
    matrix: Affine, generators: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Curvature and slope of the prior: a small increment adds its symmetric part to the strain."""
    linear = generators[:, :, :3]
    symmetric = 0.5 * (linear + linear.transpose(0, 2, 1))
    scales = symmetric[:, range(3), range(3)] / STRAIN_SPREAD
    shears = symmetric[:, (1, 2, 0), (2, 0, 1)] / SHEAR_SPREAD
    jacobian = np.concatenate([scales, shears], axis=1)
    return jacobian @ jacobian.T, jacobian @ _deviation(matrix)


def _increment(step: npt.NDArray[np.float64]) -> Affine:
    """4×4 of an increment about the centre of the brain frame; the exponential, so that turns do not stretch."""
    logarithm, to_centre = np.zeros((4, 4)), np.eye(4)
    logarithm[:3] = np.tensordot(step, GENERATORS[: len(step)], axes=1)
    to_centre[:3, 3] = -CENTRE
    increment: Affine = np.linalg.inv(to_centre) @ linalg.expm(logarithm) @ to_centre
    return increment
