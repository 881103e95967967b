"""Images that show no head: noise, phantoms, other parts of the body, label maps, diffusion data, single slices.

Each is drawn from a fixed seed on a grid of 4 mm, 240 mm each way, and returned as a NIfTI image.
"""

from __future__ import annotations

from collections.abc import Callable

import nibabel as nib
import numpy as np
from scipy import ndimage

from asa.geometry.atlas import head_atlas

SPACING_MM, SIDE = 4.0, 60
Array = np.ndarray
Draw = Callable[[], nib.Nifti1Image]
NOT_HEADS: dict[str, tuple[str, Draw]] = {}  # name -> kind, what draws it

_MM = (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM
X, Y, Z = np.meshgrid(_MM, _MM, _MM, indexing="ij", sparse=True)  # to the right, front and top
FULL = np.zeros((SIDE,) * 3)


def image(array: Array) -> nib.Nifti1Image:
    """An image whose axes are right, anterior, superior."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = _MM[0]
    made = nib.Nifti1Image(array, affine)
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    return made


def grained(array: Array, seed: int, noise: float = 15.0) -> nib.Nifti1Image:
    """Grey levels with the noise of a magnitude image."""
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.normal(0, noise, array.shape) for _ in range(2))
    return image(np.hypot(array + real, imaginary).astype(np.float32))


def ball(radii: float | tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Array:
    """Where an ellipsoid is; mm."""
    rx, ry, rz = (radii,) * 3 if isinstance(radii, int | float) else radii
    cx, cy, cz = centre
    return ((X - cx) / rx) ** 2 + ((Y - cy) / ry) ** 2 + ((Z - cz) / rz) ** 2 < 1


def tube(radii: float | tuple[float, float], centre: tuple[float, float] = (0, 0), half: float = 150.0) -> Array:
    """Where a column of elliptic section along the long axis of the body is; mm."""
    rx, ry = (radii,) * 2 if isinstance(radii, int | float) else radii
    return (((X - centre[0]) / rx) ** 2 + ((Y - centre[1]) / ry) ** 2 < 1) & (np.abs(Z) < half)


def painted(*parts: tuple[Array, float]) -> Array:
    """Later parts over earlier ones."""
    found = FULL.copy()
    for where, value in parts:
        found[np.broadcast_to(where, found.shape)] = value
    return found


def smooth_noise(sigma: float, seed: int) -> Array:
    """A smooth random field of mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=FULL.shape), sigma)
    return field / field.std()


def not_head(kind: str) -> Callable[[Draw], Draw]:
    """Register a function that draws an image, under its name."""

    def register(draw: Draw) -> Draw:
        NOT_HEADS[draw.__name__] = (kind, draw)
        return draw

    return register


def several(kind: str, **parts: Callable[[], Array]) -> None:
    """Register painted arrays that only need grain."""
    for seed, (name, make) in enumerate(parts.items()):
        NOT_HEADS[name] = (kind, lambda make=make, seed=seed: grained(make(), seed))


several(
    "noise",
    air=lambda: FULL,
    smooth_field=lambda: 300 + 100 * smooth_noise(3, 1),
    fine_field=lambda: 300 + 100 * smooth_noise(1, 2),
    ball_of_smooth_noise=lambda: np.where(ball(85), 500 + 120 * smooth_noise(2, 3), 0),
    ellipsoid_of_fine_noise=lambda: np.where(ball((70, 88, 65)), 500 + 150 * smooth_noise(1, 4), 0),
    herringbone=lambda: 400 + 300 * np.sin(0.4 * X + 0.7 * Y + 0.2 * Z),
    bright_centre=lambda: 900 * np.exp(-(X**2 + Y**2 + Z**2) / 4000) * np.abs(smooth_noise(1, 5)),
)
several(
    "phantom",
    bottle=lambda: painted((tube(85, half=85), 800)),
    lying_bottle=lambda: painted(((X**2 + Z**2 < 70**2) & (np.abs(Y) < 90), 800)),
    sphere=lambda: painted((ball(80), 700)),
    cube=lambda: painted(((np.abs(X) < 70) & (np.abs(Y) < 70) & (np.abs(Z) < 70), 700)),
    shells=lambda: painted(*((ball(90 - 15 * n), 200.0 + 150 * (n % 3)) for n in range(5))),
    head_sized_ellipsoid=lambda: painted((ball((72, 92, 68)), 600)),
    ellipsoid_in_a_shell=lambda: painted(
        (ball((82, 102, 90)), 900), (ball((76, 96, 84)), 50), (ball((70, 90, 75)), 600)
    ),
    grid_in_a_cylinder=lambda: painted(
        (tube(95, half=75), 700), (tube(85, half=60) & ((X % 24 < 5) | (Y % 24 < 5)), 100)
    ),
    rack_of_tubes=lambda: painted(
        *(
            (tube(12, (40.0 * i, 40.0 * j), 60), 200.0 + 120 * ((i + 2 * j) % 5))
            for i in (-2, -1, 0, 1, 2)
            for j in (-1, 0, 1)
        )
    ),
    two_bottles=lambda: painted((tube(40, (-50, 0), 80), 800), (tube(40, (50, 0), 80), 400)),
    ramp=lambda: np.where(tube((75, 90), half=80), 400 + 3 * Z, 0),
    shepp_logan=lambda: painted(
        (ball((69, 92, 81)), 900),
        (ball((66, 87, 78)), 300),
        (ball((11, 31, 22), (22, 0, 0)), 100),
        (ball((16, 41, 28), (-22, 0, 0)), 100),
        (ball((21, 25, 41), (0, 35, 0)), 400),
        (ball(5, (0, 10, 0)), 500),
    ),
    orange=lambda: painted(
        (ball(60), 250), (ball(54) & (np.abs(np.sin(5 * np.arctan2(Y, X))) + 0 * Z > 0.2), 800), (tube(6, half=54), 200)
    ),
    egg=lambda: painted((ball((45, 45, 60)), 400), (ball(28), 900)),
)


def torso(*parts: tuple[Array, float]) -> Array:
    """A trunk: fat around muscle, the spine, and organs."""
    return painted(
        (tube((115, 85)), 800), (tube((105, 75)), 350), (tube(20, (0, -50)), 550), (tube(8, (0, -62)), 150), *parts
    )


def leg(x: float, *parts: tuple[Array, float]) -> Array:
    """A thigh with its bone."""
    return painted(
        (tube(58, (x, 0)), 850), (tube(50, (x, 0)), 330), (tube(16, (x, 0)), 60), (tube(11, (x, 0)), 800), *parts
    )


several(
    "part of the body",
    knee=lambda: painted(
        (tube((70, 65)), 900),
        (tube((60, 55)), 300),
        (((22 + 18 * np.exp(-((np.abs(Z) - 12) ** 2) / 600)) ** 2 > (X**2 + (Y + 5) ** 2)), 850),
        ((np.abs(Z) < 5) & (X**2 + (Y + 5) ** 2 < 42**2), 150),
        (ball(14, (0, 50, 0)), 700),
    ),
    thigh=lambda: leg(0),
    thighs=lambda: np.maximum(leg(-60), leg(60)),
    abdomen=lambda: torso(
        (ball((55, 50, 70), (45, 10, 20)), 500),
        (ball((18, 25, 45), (-55, -25, 0)), 250),
        (ball((18, 25, 45), (55, -25, -30)), 250),
        (ball((30, 25, 35), (-55, 20, 40)), 420),
    ),
    thorax=lambda: torso(
        (ball((45, 60, 110), (-55, 5, 0)), 20),
        (ball((45, 60, 110), (55, 5, 0)), 20),
        (ball((45, 40, 55), (15, 20, -20)), 450),
    ),
    heart=lambda: painted(
        (ball((75, 65, 80)), 300), (ball((40, 40, 60), (15, 0, 0)), 700), (ball((25, 25, 45), (15, 0, 0)), 200)
    ),
    pelvis=lambda: torso(
        (ball((25, 30, 40), (-65, -10, 0)), 750),
        (ball((25, 30, 40), (65, -10, 0)), 750),
        (ball((35, 30, 30), (0, 25, -10)), 120),
    ),
    spine=lambda: painted(
        (tube((60, 40)), 350),
        (tube(24, (0, 10)), 500),
        (tube(24, (0, 10)) & (Z % 36 < 8), 200),
        (tube(9, (0, -22)), 700),
    ),
    neck=lambda: painted(
        (tube(62), 800), (tube(55), 350), (tube(18, (0, -5)), 500), (tube(8, (0, -25)), 650), (tube(9, (0, 30)), 10)
    ),
    shoulder=lambda: painted(
        (ball((110, 60, 90), (30, 0, -30)), 400), (ball(25, (40, 0, 10)), 850), (ball((60, 50, 100), (-70, 0, -40)), 20)
    ),
    breasts=lambda: painted(
        (ball((55, 60, 55), (-60, 10, 0)), 850),
        (ball((55, 60, 55), (60, 10, 0)), 850),
        (ball((25, 30, 28), (-60, 20, 0)), 300),
        (ball((25, 30, 28), (60, 20, 0)), 300),
    ),
    foot=lambda: painted(
        (ball((40, 110, 35)), 700),
        (ball((32, 100, 27)), 300),
        *((ball((7, 28, 7), (x, 60, 0)), 800) for x in (-24, -12, 0, 12, 24)),
        (ball((20, 30, 20), (0, -60, 0)), 800),
    ),
    hand=lambda: painted(
        (ball((45, 50, 14), (0, -40, 0)), 500), *((ball((8, 45, 8), (x, 40, 0)), 500) for x in (-36, -18, 0, 18, 36))
    ),
    fetus=lambda: torso(
        (ball((50, 45, 60), (0, 25, 0)), 700), (ball(28, (0, 25, 25)), 400), (ball((25, 22, 40), (0, 25, -20)), 450)
    ),
)


def brain_labels() -> Array:
    """Label values 0 to 6 of the most likely tissue of the atlas, on the grid here."""
    atlas = head_atlas()
    maps = np.concatenate([1 - atlas.maps.sum(axis=0, keepdims=True), atlas.maps])
    labels = maps.argmax(axis=0)
    to_atlas = np.linalg.inv(atlas.affine)
    corner = to_atlas @ [_MM[0], _MM[0] - 18, _MM[0] + 10, 1]
    return ndimage.affine_transform(labels, SPACING_MM * np.diag(to_atlas)[:3], corner[:3], FULL.shape, order=0)


@not_head("label map")
def label_map_of_a_head() -> nib.Nifti1Image:
    return image(brain_labels().astype(np.uint8))


@not_head("label map")
def label_map_in_floats() -> nib.Nifti1Image:
    return image((brain_labels() * 1.0).astype(np.float32))


@not_head("label map")
def lesion_mask() -> nib.Nifti1Image:
    return image((ball(12, (30, 20, 20)) | ball(7, (-25, -10, 30))).astype(np.uint8))


@not_head("label map")
def parcellation() -> nib.Nifti1Image:
    """Values as FreeSurfer's, of cells around random places in an ellipsoid."""
    rng = np.random.default_rng(6)
    places = rng.uniform(-80, 80, (90, 3))
    points = np.stack(np.broadcast_arrays(X, Y, Z), -1).reshape(-1, 1, 3)
    nearest = ((points - places) ** 2).sum(-1).argmin(-1).reshape(FULL.shape)
    return image(np.where(ball((70, 88, 65)), 1000 + nearest, 0).astype(np.int16))


@not_head("label map")
def empty() -> nib.Nifti1Image:
    return image(np.zeros(FULL.shape, np.int16))


@not_head("diffusion data")
def series_of_seven() -> nib.Nifti1Image:
    """Seven volumes of one diffusion acquisition."""
    base = np.where(brain_labels() > 0, 500.0, 0)
    return image(np.stack([base * factor for factor in (1, 0.4, 0.35, 0.42, 0.38, 0.4, 0.37)], -1).astype(np.float32))


@not_head("diffusion data")
def tensor() -> nib.Nifti1Image:
    rng = np.random.default_rng(7)
    return image(rng.normal(0, 1e-3, (*FULL.shape, 6)).astype(np.float32))


@not_head("diffusion data")
def directions_in_colour() -> nib.Nifti1Image:
    colours = np.zeros(FULL.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = np.where(brain_labels() == 1, 200, 0)
    return image(colours)


@not_head("diffusion data")
def noise_floor() -> nib.Nifti1Image:
    """A high b-value: little but noise in the outline of a head."""
    return grained(np.where((brain_labels() > 0) & (brain_labels() < 5), 18.0, 0), 8, 20)


@not_head("slices")
def one_slice() -> nib.Nifti1Image:
    return image(np.where(brain_labels() == 1, 800.0, 200)[:, :, 30:31].astype(np.float32))


@not_head("slices")
def one_slice_of_two_dimensions() -> nib.Nifti1Image:
    return image(np.where(brain_labels() == 1, 800.0, 200)[:, :, 30].astype(np.float32))


@not_head("slices")
def three_slices() -> nib.Nifti1Image:
    return image((np.where(brain_labels() == 1, 800.0, 200) + 20 * smooth_noise(1, 9))[:, 30:33].astype(np.float32))


@not_head("slices")
def slice_repeated() -> nib.Nifti1Image:
    """One axial slice of a head in every place."""
    values = np.array([0, 900, 600, 200, 200, 60, 700.0])[brain_labels()]
    return grained(np.repeat(values[:, :, 32:33], SIDE, axis=2), 10)
