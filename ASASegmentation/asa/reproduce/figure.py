"""Fig. 4: segmentations of test cases (rows) by the compared systems (columns), next to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from asa.errors import InputError
from asa.files import atomic_path
from asa.metrics.masks import bounding_box
from asa.reproduce.plan import Plan, row_unit
from asa.reproduce.published import BRATS, FIGURE4_COLOURS, FIGURE4_COLUMNS
from asa.reproduce.work import PREDICTIONS
from asa.tasks import TASKS
from asa.volume import read_volume

SHOWN_CASES = 3
MODALITY = "t1gd"  # shows the enhancing part, about which the paper speaks
CELL, GAP, TOP, SIDE, BOTTOM = 230, 6, 40, 34, 64
MARGIN = 6  # voxels around the brain
BACKGROUND, TEXT, FAINT, WARNING = (0, 0, 0), (240, 240, 240), (170, 170, 170), (200, 30, 30)
CREDIT = "Images and reference: BraTS challenge"

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """One row: a slice of a case, and label maps of the same slice, each (H, W)."""

    case: str
    slice_mm: float
    grey: npt.NDArray[np.float32]
    labels: list[npt.NDArray[np.uint8] | None]


def strips(plan: Plan, count: int = SHOWN_CASES) -> list[Strip]:
    """Return the test cases with the largest tumours, cut where most labels show.

    Raises:
        InputError: no row of Table 2 is finished, or its cases are missing.
    """
    dataset = plan.dataset(BRATS)
    if dataset is None:
        raise InputError(f"figure4 needs data of task '{BRATS.task}'.")
    predicted = {
        title: plan.folder / row_unit(dataset, system) / PREDICTIONS
        for title, system in FIGURE4_COLUMNS
        if plan.finished(row_unit(dataset, system))
    }
    if not predicted:
        raise InputError("figure4 shows the rows of Table 2, but none of them is finished.")
    names = {path.name.removesuffix(".nii.gz") for path in next(iter(predicted.values())).glob("*.nii.gz")}
    found: list[tuple[int, Strip]] = []
    for case in dataset.find(Path(plan.data[dataset.name])):
        if case.name not in names or case.labels is None:
            continue
        truth = read_volume(case.labels, labels=True)
        labels = dataset.to_task(truth.array)
        image = read_volume(case.images[MODALITY])
        level = most_telling(labels)
        brain = image.array[level] > image.array.min()
        box = bounding_box(brain[None])
        _, rows, columns = box if box else (slice(0), slice(None), slice(None))
        window = tuple(slice(max(0, s.start - MARGIN), s.stop + MARGIN) if s.stop else s for s in (rows, columns))
        cuts: list[npt.NDArray[np.uint8] | None] = [labels[level][window]]
        for title, _ in FIGURE4_COLUMNS:
            path = predicted.get(title, Path()) / f"{case.name}.nii.gz"
            cuts.append(read_volume(path, labels=True).array[level][window] if path.is_file() else None)
        height = float(image.grid.to_world([level, 0, 0])[2])
        grey = image.array[level][window].astype(np.float32)
        found.append((int(np.count_nonzero(labels)), Strip(case.name, height, grey, cuts)))
    if not found:
        raise InputError(f"None of the segmented cases is in {plan.data[dataset.name]}.")
    return [strip for _, strip in sorted(found, key=lambda pair: -pair[0])[:count]]


def most_telling(labels: npt.NDArray[np.uint8]) -> int:
    """Return the axial slice where the labels, each by its own largest area, cover most."""
    total = np.zeros(len(labels))
    for value in np.unique(labels[labels > 0]):
        area = np.count_nonzero(labels == value, axis=(1, 2))
        total += area / area.max()
    return int(total.argmax())


def painted(strip: Strip, labels: npt.NDArray[np.uint8] | None) -> Image.Image:
    """Return a slice with labels in the paper's colours; anterior is up, the patient's right on the left."""
    low, high = np.percentile(strip.grey[strip.grey > strip.grey.min()], (1, 99.5))
    level = np.clip((strip.grey - low) / max(float(high - low), 1e-6), 0, 1)
    picture: Picture = np.repeat((230 * level).astype(np.uint8)[..., None], 3, axis=-1)
    names = {label.value: label.name for label in TASKS[BRATS.task].labels}
    if labels is None:
        picture //= 3
    else:
        for value, name in names.items():
            picture[labels == value] = FIGURE4_COLOURS[name]
    image = Image.fromarray(np.ascontiguousarray(picture[::-1, ::-1]))
    scale = CELL / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.NEAREST)


def draw(rows: Sequence[Strip], stamp: str = "") -> Image.Image:
    """Return the whole picture; a red band with ``stamp`` above it where there is one."""
    titles = ("GT", *(title for title, _ in FIGURE4_COLUMNS))
    width = SIDE + len(titles) * (CELL + GAP)
    font, small = ImageFont.load_default(22), ImageFont.load_default(16)
    lines = wrapped(stamp, small, width - 2 * GAP) if stamp else []
    band = (22 * len(lines) + 14) if lines else 0
    page = Image.new("RGB", (width, band + TOP + len(rows) * (CELL + GAP) + BOTTOM), BACKGROUND)
    pen = ImageDraw.Draw(page)
    if lines:
        pen.rectangle((0, 0, width, band), fill=WARNING)
        for number, line in enumerate(lines):
            pen.text((width // 2, 7 + 22 * number), line, TEXT, small, anchor="ma")
    for column, title in enumerate(titles):
        pen.text((SIDE + column * (CELL + GAP) + CELL // 2, band + 8), title, TEXT, font, anchor="ma")
    for number, strip in enumerate(rows):
        y = band + TOP + number * (CELL + GAP)
        caption = Image.new("RGB", (CELL, SIDE), BACKGROUND)
        text = f"{strip.case}, z = {strip.slice_mm:.0f} mm"
        ImageDraw.Draw(caption).text((CELL // 2, SIDE // 2), text, FAINT, ImageFont.load_default(14), anchor="mm")
        page.paste(caption.rotate(90, expand=True), (0, y))
        for column, labels in enumerate(strip.labels):
            tile = painted(strip, labels)
            x = SIDE + column * (CELL + GAP) + (CELL - tile.width) // 2
            page.paste(tile, (x, y + (CELL - tile.height) // 2))
            if labels is None:
                pen.text((x + tile.width // 2, y + CELL // 2), "not done", TEXT, small, anchor="mm")
    x, y = SIDE, page.height - BOTTOM + 18
    for name, colour in FIGURE4_COLOURS.items():
        pen.rectangle((x, y, x + 22, y + 22), fill=colour)
        pen.text((x + 32, y + 11), name, TEXT, font, anchor="lm")
        x += 120
    foot = f"{CREDIT}. T1 with contrast agent; the patient's right is on the left."
    pen.text((width - GAP, y + 11), foot, FAINT, small, anchor="rm")
    return page


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Return lines no wider than ``width`` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def write_figure(plan: Plan, path: Path) -> None:
    """Draw the figure of a plan and write it as PNG.

    Raises:
        InputError: as :func:`strips`.
        OutputError: no room or no permission.
    """
    page = draw(strips(plan), plan.spending.stamp)
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")
