"""Draw the 128 × 128 icons: an axial brain, on one side its masked patches, on the other its tissues, or, for the
laboratory, what the masked patches are filled in with and a falling loss. For the effect ASA Refine: a segment that a
click makes larger.

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
SEGMENT, GAINED, POINTER = (224, 138, 92), (96, 200, 120), (250, 250, 250)
CURVE, SHADOW = (255, 190, 60), (16, 28, 52)


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


def filled_in(x: Plane, y: Plane) -> Plane:
    """The laboratory's other side: the anatomy in grey, in patches, as a reconstruction shows it."""
    pitch = 0.19
    column, row = np.floor(abs(x) / pitch), np.floor((y + 0.855) / pitch)
    grey = tissues(x, y) @ np.array([0.30, 0.59, 0.11])
    shade = 1 + 0.05 * np.cos(column * 2.1 + row * 1.3)
    return (grey * shade).clip(0, 255)[..., None] * np.array([0.96, 0.98, 1.0])


def loss_curve(x: Plane, y: Plane, half_width: float) -> npt.NDArray[np.bool_]:
    """A band around a curve that falls from the upper left to the lower right, with round ends."""
    ends = np.linspace(-0.72, 0.72, 200)
    near = np.full(x.shape, np.inf)
    for at in ends:
        near = np.minimum(near, np.hypot(x - at, y - (0.62 - 1.02 * np.exp(-2.6 * (at + 0.72)))))
    return near <= half_width


def icon(laboratory: bool = False) -> Image.Image:
    x, y = grid()
    ground = np.array(TOP) + (np.array(BOTTOM, float) - TOP) * ((y[..., None] + 1) / 2)
    brain = brain_radius(x, y, 0.012, 15) < 1
    split = 0.012
    right = brain & (x > split)
    left = brain & (x < -split)
    picture = ground
    picture[right] = (filled_in if laboratory else tissues)(x, y)[right]
    squares, inside = patches(x, y)
    picture[left & inside] = squares[left & inside]
    if laboratory:
        picture[loss_curve(x, y, 0.095)] = SHADOW
        picture[loss_curve(x, y, 0.055)] = CURVE
    return shrunk(picture, np.where(rounded_square(x, y, 0.97, 0.24), 255.0, 0.0))


def shrunk(picture: Plane, alpha: Plane) -> Image.Image:
    """The picture (red, green, blue in 0..255) at the size of an icon."""
    pixels = np.dstack([picture * (alpha[..., None] / 255), alpha])
    small = pixels.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 4).mean(axis=(1, 3))
    cover = np.maximum(small[..., 3:], 1e-6) / 255
    small[..., :3] /= cover
    return Image.fromarray(small.round().clip(0, 255).astype(np.uint8), "RGBA")


def refine_icon() -> Image.Image:
    """A segment, what a click adds to it, and the mouse pointer with a plus."""
    x, y = grid()
    picture = np.zeros((*x.shape, 3)) + np.array(BOTTOM, float)
    seen = rounded_square(x, y, 0.97, 0.24)
    angle = np.arctan2(y + 0.05, x + 0.2)
    ripple = 1 + 0.07 * np.cos(3 * angle + 0.6)
    picture[np.hypot((x - 0.22) / 0.62, (y - 0.12) / 0.58) < 1] = GAINED
    picture[np.hypot((x + 0.2) / 0.62, (y + 0.05) / 0.66) / ripple < 1] = SEGMENT
    across, down = x - 0.16, y - 0.02  # tip of the pointer
    arrow = (across > 0) & (down > across * 0.42) & (across > down * 0.42) & (across + down < 0.86)
    stem = (abs(across - down) < 0.11) & (across + down > 0.6) & (across + down < 1.35)
    picture[arrow | stem] = POINTER
    plus = ((abs(x + 0.25) < 0.05) & (abs(y + 0.1) < 0.2)) | ((abs(y + 0.1) < 0.05) & (abs(x + 0.25) < 0.2))
    picture[plus] = POINTER
    return shrunk(picture, np.where(seen, 255.0, 0.0))


def main() -> None:
    for module, laboratory in (("ASASegmentation", False), ("ASATraining", True)):
        destination = REPOSITORY / module / "Resources" / "Icons" / f"{module}.png"
        destination.parent.mkdir(parents=True, exist_ok=True)
        icon(laboratory).save(destination, optimize=True)
    effect = REPOSITORY / "ASASegmentation" / "SegmentEditorASARefine" / "SegmentEditorASARefine.png"
    refine_icon().save(effect, optimize=True)


if __name__ == "__main__":
    main()
