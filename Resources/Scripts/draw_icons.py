"""Draw the 128 × 128 icons: an axial brain, on one side its masked patches, on the other its tissues.

Usage: python draw_icons.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[np.float64]

SIZE = 128
OVERSAMPLING = 8
REPOSITORY = Path(__file__).resolve().parents[2]

TOP, BOTTOM = (31, 54, 92), (16, 28, 52)
SULCI, GREY, WHITE, VENTRICLE = (86, 164, 206), (224, 138, 92), (244, 238, 226), (86, 164, 206)
SHOWN, HIDDEN = (236, 240, 248), (74, 98, 142)


def grid() -> tuple[Plane, Plane]:
    """x (left to right) and y (down) of every sub-pixel, in units of half the icon, origin at its centre."""
    steps = (np.arange(SIZE * OVERSAMPLING) + 0.5) / (SIZE * OVERSAMPLING) * 2 - 1
    x, y = np.meshgrid(steps, steps)
    return x, y


def rounded_square(x: Plane, y: Plane, half: float, radius: float) -> npt.NDArray[np.bool_]:
    dx, dy = np.maximum(abs(x) - half + radius, 0), np.maximum(abs(y) - half + radius, 0)
    return np.hypot(dx, dy) <= radius


def brain_radius(x: Plane, y: Plane, ripple: float, lobes: int) -> Plane:
    """Distance from the centre relative to the outline of an axial slice: 1 on it. Mirror-symmetric in x."""
    angle = np.arctan2(abs(x), -y)
    outline = 1 + 0.05 * np.cos(2 * angle) - 0.04 * np.cos(angle) + ripple * np.cos(lobes * angle)
    return np.hypot(x / 0.74, y / 0.85) / outline


def tissues(x: Plane, y: Plane) -> Plane:
    """The segmented side: sulcal CSF, a folded ribbon of grey matter, white matter, the ventricle."""
    canvas = np.zeros((*x.shape, 3))
    canvas[:] = SULCI
    canvas[brain_radius(x, y, 0.045, 15) < 0.92] = GREY
    canvas[brain_radius(x, y, 0.075, 15) < 0.69] = WHITE
    horn = np.hypot((abs(x) - 0.10 - 0.9 * y**2) / 0.07, y / 0.30) < 1
    canvas[horn] = VENTRICLE
    return canvas


def patches(x: Plane, y: Plane) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """The self-supervised side: square patches, of which a quarter is visible. Colours, and where a patch is."""
    pitch, gap = 0.19, 0.022
    column, row = np.floor(-x / pitch).astype(int), np.floor((y + 0.855) / pitch).astype(int)
    inside = (np.mod(-x, pitch) > gap) & (np.mod(y + 0.855, pitch) > gap)
    shown = (column + 2 * row + (row // 4)) % 4 == 1
    shade = np.where(shown, 0.94, 0.88) + 0.06 * np.cos(column * 1.7 + row * 2.3)
    return np.where(shown[..., None], np.array(SHOWN, float), np.array(HIDDEN, float)) * shade[..., None], inside


def icon() -> Image.Image:
    x, y = grid()
    ground = np.array(TOP) + (np.array(BOTTOM, float) - TOP) * ((y[..., None] + 1) / 2)
    brain = brain_radius(x, y, 0.012, 15) < 1
    split = 0.012
    right = brain & (x > split)
    left = brain & (x < -split)
    picture = ground
    picture[right] = tissues(x, y)[right]
    squares, inside = patches(x, y)
    picture[left & inside] = squares[left & inside]
    alpha = np.where(rounded_square(x, y, 0.97, 0.24), 255.0, 0.0)
    pixels = np.dstack([picture * (alpha[..., None] / 255), alpha])
    small = pixels.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 4).mean(axis=(1, 3))
    cover = np.maximum(small[..., 3:], 1e-6) / 255
    small[..., :3] /= cover
    return Image.fromarray(small.round().clip(0, 255).astype(np.uint8), "RGBA")


def main() -> None:
    destination = REPOSITORY / "ASASegmentation" / "Resources" / "Icons" / "ASASegmentation.png"
    destination.parent.mkdir(parents=True, exist_ok=True)
    icon().save(destination, optimize=True)


if __name__ == "__main__":
    main()
