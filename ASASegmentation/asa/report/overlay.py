"""overlay.png: outlines of the segmentation in three planes of the scan, with a legend in mL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from asa.files import atomic_path
from asa.report.segmentation import shown
from asa.report.volumes import Measurement
from asa.tasks import Label, Region, Task
from asa.volume import Volume

_WIDTH = 1500
_GAP = 24
_MARGIN_MM = 8.0
_MAX_HEIGHT = 900
_BACKGROUND, _TEXT, _FAINT = (18, 20, 24), (238, 238, 238), (165, 170, 178)

_ALERT = (255, 170, 60)
_LINE, _MOST_LINES = 28, 8

_Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Plane:
    """How one plane is cut and laid out: the axis of (T, H, W) it is across, and the letters at its edges.

    Rows run downwards and columns to the right, so each axis is read backwards: superior and anterior are up, the
    patient's right (radiological convention) and the face are on the left.
    """

    title: str
    axis: int
    left: str
    right: str
    top: str
    bottom: str


_PLANES = (
    _Plane("Axial", 0, "R", "L", "A", "P"),
    _Plane("Coronal", 1, "R", "L", "S", "I"),
    _Plane("Sagittal", 2, "A", "P", "S", "I"),
)


def write_overlay(
    path: Path,
    image: Volume,
    labels: Volume,
    brain: Volume,
    task: Task,
    measurements: Sequence[Measurement],
    caption: str = "",
    warnings: Sequence[str] = (),
) -> None:
    """Draw `labels` over `image` and write a PNG 1500 pixels wide.

    `image`, `labels` and `brain` (non-zero inside) share one grid; the picture is cut to the brain, where it is known,
    and to the head otherwise. `measurements` give the legend its volumes; `caption` is placed next to the title,
    `warnings` below the legend. Raises OutputError when the file cannot be written.
    """
    spacing = [float(s) for s in image.grid.spacing]
    inside = (brain.array > 0) | (labels.array > 0) if brain.array.any() else _head(image.array)
    box = _bounding_box(inside, spacing)
    centre = informative_centre(labels.array)
    extent = [(stop - start) * step for (start, stop), step in zip(box, spacing, strict=True)]
    shapes = [[extent[a] for a in range(3) if a != plane.axis] for plane in _PLANES]
    scale = (_WIDTH - _GAP * (len(_PLANES) + 1)) / sum(width for _, width in shapes)
    scale = min(scale, _MAX_HEIGHT / max(height for height, _ in shapes))
    window = _window(image.array, inside)

    panels = []
    for plane, (height, width) in zip(_PLANES, shapes, strict=True):
        cut: list[slice | int] = [slice(start, stop) for start, stop in box]
        cut[plane.axis] = centre[plane.axis]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = _resized(_to_grey(image.array[tuple(cut)], window)[::-1, ::-1], size, Image.Resampling.BICUBIC)
        values = _resized(labels.array[tuple(cut)][::-1, ::-1].astype(np.uint8), size, Image.Resampling.NEAREST)
        panels.append(_outlined(grey, values, shown(task)))
    with atomic_path(path) as temporary:
        _page(panels, task, measurements, caption, warnings, scale).save(temporary, format="PNG")


def informative_centre(labels: npt.NDArray[np.integer]) -> tuple[int, int, int]:
    """Return the slice of each axis that shows the labels best.

    Each label's area along the axis is divided by its own largest area, so that a small lesion counts as much as the
    white matter; the slice with the largest sum wins. Without any label it is the middle of the array.
    """
    values = [int(v) for v in np.unique(labels) if v]
    centre = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        profile = np.zeros(labels.shape[axis])
        for value in values:
            area = np.count_nonzero(labels == value, axis=others)
            profile += area / area.max()
        centre.append(int(profile.argmax()) if values else labels.shape[axis] // 2)
    return centre[0], centre[1], centre[2]


def _head(image: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """What is clearly brighter than air."""
    dark = float(image.min())
    bright: npt.NDArray[np.bool_] = image > dark + 0.1 * (float(np.percentile(image, 99)) - dark)
    return bright


def _bounding_box(inside: npt.NDArray[np.bool_], spacing: Sequence[float]) -> list[tuple[int, int]]:
    """Start and stop of what is inside on each axis, with a margin; the whole array when nothing is."""
    box = []
    for axis, step in enumerate(spacing):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if not used.size:
            return [(0, n) for n in inside.shape]
        margin = int(np.ceil(_MARGIN_MM / step))
        box.append((max(0, int(used[0]) - margin), min(inside.shape[axis], int(used[-1]) + 1 + margin)))
    return box


def _window(image: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Grey-level window from the brain's own intensities, so that bright scalp fat does not darken it."""
    low, high = np.percentile(image[inside] if inside.any() else image, (1, 99.5))
    low -= 0.1 * (high - low)  # the darkest tissue stays a little above black
    return float(low), float(high) if high > low else float(low) + 1.0


def _to_grey(plane: npt.NDArray[np.floating], window: tuple[float, float]) -> _Picture:
    low, high = window
    grey: _Picture = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey


def _resized(plane: _Picture, size: tuple[int, int], how: Image.Resampling) -> _Picture:
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, how))


def _outlined(grey: _Picture, values: _Picture, items: Sequence[Label | Region]) -> Image.Image:
    """Return the plane in RGB with the inner edge of each item in its colour, two pixels wide."""
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for item in items:
        mask = np.isin(values, item.values if isinstance(item, Region) else (item.value,))
        picture[mask & ~binary_erosion(mask, iterations=2, border_value=1)] = item.colour
    return Image.fromarray(picture)


def _page(
    panels: Sequence[Image.Image],
    task: Task,
    measurements: Sequence[Measurement],
    caption: str,
    warnings: Sequence[str],
    scale: float,
) -> Image.Image:
    """Title, the three panels on one base line, legend, warnings and the words about sides."""
    title, text, small = (ImageFont.load_default(size=size) for size in (30, 24, 20))
    top, row = 104, 38
    height = max(panel.height for panel in panels)
    wanted = {item.name: item.colour for item in shown(task)}
    kind = "region" if task.nested else "label"
    legend = [m for m in measurements if m.kind == "brain" or (m.kind == kind and m.name in wanted)]
    legend_rows = -(-len(legend) // 3)
    lines = _wrapped(warnings, small)
    below = top + height + 30 + legend_rows * row
    page = Image.new("RGB", (_WIDTH, below + len(lines) * _LINE + 56), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, 20), task.title, _TEXT, title)
    draw.text((_WIDTH - _GAP, 26), caption, _FAINT, small, anchor="ra")

    used = sum(panel.width for panel in panels)
    gap = (_WIDTH - used) // (len(panels) + 1)
    x = gap
    for plane, panel in zip(_PLANES, panels, strict=True):
        y = top + (height - panel.height) // 2
        page.paste(panel, (x, y))
        draw.text((x + panel.width / 2, 70), plane.title, _FAINT, text, anchor="ma")
        middle_x, middle_y, right, bottom = x + panel.width / 2, y + panel.height / 2, x + panel.width, y + panel.height
        for letter, at, anchor in (
            (plane.left, (x + 8, middle_y), "lm"),
            (plane.right, (right - 8, middle_y), "rm"),
            (plane.top, (middle_x, y + 6), "ma"),
            (plane.bottom, (middle_x, bottom - 6), "md"),
        ):
            draw.text(at, letter, _TEXT, text, anchor=anchor, stroke_width=2, stroke_fill=_BACKGROUND)
        x = right + gap

    y = top + height + 24
    column = (_WIDTH - 2 * _GAP) // 3
    for index, m in enumerate(legend):
        at_x, at_y = _GAP + (index % 3) * column, y + (index // 3) * row
        if m.name in wanted:
            draw.rectangle((at_x, at_y + 4, at_x + 22, at_y + 26), fill=wanted[m.name])
        else:
            draw.rectangle((at_x, at_y + 4, at_x + 22, at_y + 26), outline=_FAINT, width=2)
        draw.text((at_x + 34, at_y), f"{m.title}  {m.volume_ml:,.1f} mL", _TEXT, text)
    for number, line in enumerate(lines):
        draw.text((_GAP, below + number * _LINE), line, _ALERT, small)
    foot = page.height - 40
    sides = "Radiological convention: the patient's right is on the left of the picture."
    draw.text((_GAP, foot), sides, _FAINT, small)
    bar = 50 * scale
    draw.line((_WIDTH - _GAP - bar, foot + 12, _WIDTH - _GAP, foot + 12), _FAINT, 3)
    draw.text((_WIDTH - _GAP - bar - 10, foot), "50 mm", _FAINT, small, anchor="ra")
    return page


def _wrapped(warnings: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Return the warnings in lines that fit the page; where they are too many, report.json is pointed at."""
    lines: list[str] = []
    for warning in warnings:
        line = "!"
        for word in warning.split():
            if font.getlength(f"{line} {word}") > _WIDTH - 2 * _GAP:
                lines.append(line)
                line = "  "
            line += f" {word}"
        lines.append(line)
    return lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], "! and more, see report.json"]
