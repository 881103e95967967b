"""changes.png: both visits in the same slices, with the findings at each, or the change of each lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from asa.files import atomic_path
from asa.longitudinal.lesions import LesionChange
from asa.tasks import Colour

# Apart with the common colour-vision deficiencies.
STATE_COLOURS: Mapping[str, Colour] = {
    "new": (213, 94, 0),
    "enlarging": (230, 159, 0),
    "stable": (150, 150, 150),
    "shrinking": (86, 180, 233),
    "gone": (170, 51, 119),
}
_BACKGROUND, _TEXT, _FAINT = (18, 20, 24), (238, 238, 238), (165, 170, 178)
_SCALE, _GAP, _TOP, _BELOW = 3, 16, 90, 130
_COLUMNS = 4

Map = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]


def lesion_slices(lesions: Sequence[LesionChange], numbers: npt.NDArray[np.integer]) -> list[int]:
    """Return up to four axial slices (indices along T) that show what changed, the largest changes first.

    Args:
        lesions: the change of each lesion.
        numbers: label map (T, H, W) of their numbers.
    """
    changed = [lesion for lesion in lesions if lesion.state != "stable"] or [*lesions]
    chosen: list[int] = []
    for lesion in sorted(changed, key=lambda one: -abs(one.change_ml)):
        areas = np.count_nonzero(numbers == lesion.number, axis=(1, 2))
        t = int(areas.argmax())
        if all(abs(t - other) > 3 for other in chosen):
            chosen.append(t)
    return sorted(chosen[:_COLUMNS])


def write_picture(
    path: Path,
    images: tuple[Map, Map],
    outlines: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]],
    colours: Mapping[int, Colour],
    slices: Sequence[int],
    legend: Sequence[tuple[str, Colour]],
    title: str,
    lines: Sequence[str],
) -> None:
    """Draw axial slices of the first visit above those of the second, and their difference in brightness below.

    Args:
        path: of the PNG.
        images: brightness (T, H, W) at both visits, 1 mm voxels.
        outlines: label maps (T, H, W) whose borders are drawn.
        colours: value of an outline -> its colour.
        slices: indices along T, from one to four.
        legend: what the colours mean.
        title: heading.
        lines: sentences below.

    Raises:
        OutputError: the file cannot be written.
    """
    box = _box([image != image.flat[0] for image in images])
    rows = [
        [_slice(_grey(image), outline, colours, t, box) for t in slices]
        for image, outline in zip(images, outlines, strict=True)
    ]
    rows.append([_difference(images, t, box) for t in slices])
    width, height = rows[0][0].size
    text, small = ImageFont.load_default(size=24), ImageFont.load_default(size=18)
    across = max(900, 120 + len(slices) * (width + _GAP))
    page = Image.new("RGB", (across, _TOP + 3 * (height + _GAP) + _BELOW + 26 * len(lines)), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, 16), title, _TEXT, text)
    for row, (pictures, name) in enumerate(zip(rows, ("Visit 1", "Visit 2", "2 less 1"), strict=True)):
        y = _TOP + row * (height + _GAP)
        draw.text((_GAP, y + height / 2), name, _FAINT, small, anchor="lm")
        for column, picture in enumerate(pictures):
            page.paste(picture, (110 + column * (width + _GAP), y))
    y, x = _TOP + 3 * (height + _GAP) + 6, _GAP
    for name, colour in legend:
        draw.rectangle((x, y, x + 18, y + 18), fill=colour)
        draw.text((x + 26, y - 2), name, _TEXT, small)
        x += 50 + int(small.getlength(name))
    for number, line in enumerate(lines):
        draw.text((_GAP, y + 36 + 26 * number), line, _TEXT, small)
    foot = "Axial, from below: the patient's right is on the left. Both visits are moved half-way to one another."
    draw.text((_GAP, page.height - 34), foot, _FAINT, small)
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")


def _box(shown: Sequence[npt.NDArray[np.bool_]]) -> tuple[slice, slice]:
    """Rows and columns of the axial slices within which something is shown."""
    inside = np.any(shown[0], axis=0) | np.any(shown[1], axis=0)
    ends = [np.flatnonzero(np.any(inside, axis=axis)) for axis in (1, 0)]
    h, w = (slice(int(end[0]), int(end[-1]) + 1) if end.size else slice(None) for end in ends)
    return h, w


def _grey(image: Map) -> Picture:
    low, high = -3.0, 4.0  # standard deviations of the brain around its median
    grey: Picture = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey


def _enlarged(plane: Picture) -> Picture:
    flipped = np.ascontiguousarray(plane[::-1, ::-1])  # the face is up, the patient's right on the left
    height, width = flipped.shape[:2]
    size = (width * _SCALE, height * _SCALE)
    how = Image.Resampling.BICUBIC if plane.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(flipped).resize(size, how))


def _slice(
    grey: Picture,
    outline: npt.NDArray[np.integer],
    colours: Mapping[int, Colour],
    t: int,
    box: tuple[slice, slice],
) -> Image.Image:
    picture = _enlarged(np.repeat(grey[t][box][:, :, None], 3, axis=2)).copy()
    values = _enlarged(outline[t][box].astype(np.uint8))
    for value, colour in colours.items():
        mask = values == value
        picture[mask & ~binary_erosion(mask, iterations=2, border_value=1)] = colour
    return Image.fromarray(picture)


def _difference(images: tuple[Map, Map], t: int, box: tuple[slice, slice]) -> Image.Image:
    """Brighter is red, darker is blue, from two standard deviations on in full."""
    first, second = (image[t][box] for image in images)
    shown = (first != images[0].flat[0]) | (second != images[1].flat[0])
    change = np.where(shown, np.clip((second - first) / 2, -1, 1), 0)
    red, blue = np.clip(change, 0, 1), np.clip(-change, 0, 1)
    channels = np.stack([1 - blue, 1 - blue - red, 1 - red], axis=-1)
    return Image.fromarray(_enlarged((np.clip(channels, 0, 1) * 255).astype(np.uint8)).copy())
