"""Ways to make a head harder. Each returns the image and its reference on one grid, so that they can be compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from asa.geometry import resample
from asa.volume import Grid, StorageOrder, Volume

Pair = tuple[Volume, Volume]  # image, reference labels
ROTATION_DEGREES = 20.0
COARSE_MM = (4.0, 2.0, 2.0)  # (T, H, W): axial slices of 4 mm
BIAS_RANGE = 0.4  # the field runs from 0.8 to 1.2, "40 %" in BrainWeb's terms
NOISE_SHARE = 0.05  # standard deviation of the noise over the white matter's intensity
SEED = 20


def covering_grid(grid: Grid, spacing: tuple[float, float, float], matrix: np.ndarray | None = None) -> Grid:
    """Grid with the axes of ``grid`` and another spacing that holds its whole field of view after ``matrix``.

    matrix: 4x4 in RAS mm, moves the points of ``grid``'s world; None moves nothing.
    """
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    corners = grid.corners if matrix is None else grid.corners @ matrix[:3, :3].T + matrix[:3, 3]
    along = corners @ np.linalg.inv(axes).T
    low, high = along.min(axis=0), along.max(axis=0)
    steps = np.asarray(spacing)
    shape = np.ceil((high - low) / steps - 1e-6).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    # Voxel centres: half a step inside the lowest face, and what rounding up added is split over both ends.
    start = (low + high) / 2 - (shape - 1) / 2 * steps
    affine[:3, 3] = axes @ start
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def rotation(axis: int, centre: np.ndarray, degrees: float = ROTATION_DEGREES) -> np.ndarray:
    """4x4 rotation in RAS mm about a world axis (0 right, 1 anterior, 2 superior) through a point."""
    angle = np.deg2rad(degrees)
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(4)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


def rotated(pair: Pair, axis: int) -> Pair:
    """The head turned by 20 degrees about a world axis and *resampled*: voxel axes and world stay as they were.

    The image is interpolated with cubic splines, as linear ones would blur it, which is another degradation; outside
    the resampled brain mask it is 0 again. The reference takes the nearest voxel.
    """
    image, reference = pair
    push = rotation(axis, image.grid.centre)
    grid = covering_grid(image.grid, image.spacing, push)
    pull = np.linalg.inv(push)
    brain = resample(image.with_array((image.array > 0).astype(np.uint8)), grid, 0, pull).array
    values = np.clip(resample(image, grid, 3, pull).array, 0, None) * brain
    return Volume(values, grid), resample(reference, grid, 0, pull)


def stored_otherwise(pair: Pair) -> Pair:
    """The same head with its file axes permuted and two of them reversed; in the world nothing moves."""
    order = StorageOrder(axes=(0, 2, 1), flipped=(True, False, True))
    image, reference = pair
    return Volume(image.array, image.grid, order), Volume(reference.array, reference.grid, order)


def coarse(pair: Pair) -> Pair:
    """2x2x4 mm voxels. The image is averaged; a voxel of the reference takes the class that fills most of it.

    So a result is judged at the resolution at which the head was seen. Carried to the original grid, even the
    best labels of 2x2x4 mm voxels would lose the cortical ribbon.
    """
    image, reference = pair
    grid = covering_grid(image.grid, COARSE_MM)
    shares = [
        resample(reference.with_array((reference.array == value).astype(np.float32)), grid, 1).array
        for value in range(int(reference.array.max()) + 1)
    ]
    # Outside the old field of view all shares are 0, and the first, background, is taken.
    labels = np.argmax(shares, axis=0).astype(np.uint8)
    return resample(image, grid, 1), Volume(labels, grid)


def shaded(pair: Pair) -> Pair:
    """A smooth multiplicative bias field and Rician noise, both inside the brain and the same in every run."""
    image, reference = pair
    generator = np.random.default_rng(SEED)
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in image.array.shape], indexing="ij")
    field = np.zeros(image.array.shape)
    for powers in itertools.product(range(3), repeat=3):
        if 0 < sum(powers) <= 3:
            field += generator.normal() * np.prod(
                [axis**power for axis, power in zip(axes, powers, strict=True)], axis=0
            )
    brain = image.array > 0
    low, high = np.percentile(field[brain], [1, 99])
    gain = 1 + BIAS_RANGE * (np.clip((field - low) / (high - low), 0, 1) - 0.5)
    sigma = NOISE_SHARE * float(np.median(image.array[reference.array == 3]))
    real, imaginary = generator.normal(0, sigma, (2, *image.array.shape))
    noisy = np.hypot(image.array * gain + real, imaginary)
    return image.with_array(np.where(brain, noisy, 0).astype(np.float32)), reference


def mirrored(pair: Pair) -> Pair:
    """Left and right exchanged in the image, on the same grid."""
    image, reference = pair
    return (
        image.with_array(np.ascontiguousarray(image.array[..., ::-1])),
        reference.with_array(np.ascontiguousarray(reference.array[..., ::-1])),
    )


DEGRADATIONS: dict[str, Callable[[Pair], Pair]] = {
    "nodding by 20°": lambda pair: rotated(pair, 0),
    "tilted by 20°": lambda pair: rotated(pair, 1),
    "turned by 20°": lambda pair: rotated(pair, 2),
    "stored in another order": stored_otherwise,
    "2×2×4 mm voxels": coarse,
    "bias field and noise": shaded,
    "mirrored": mirrored,
}
