"""Quality sheet of a store: one image per scan, and an HTML page with the most questionable scans first."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from asa.data.scan_store import ScanRecord, Shape
from asa.files import atomic_path, write_text

OUTLINE, FRAME_COLOUR = (255, 80, 60), (90, 160, 255)
SHEET = "index.html"

STYLE = """
body { background: #111; color: #ddd; font: 14px system-ui, sans-serif; margin: 2em }
a { color: #8bf } .scan { display: inline-block; margin: 6px; padding: 6px; background: #1c1c1c; vertical-align: top }
.scan.doubted { outline: 2px solid #e52 } .scan p { margin: 4px 0; max-width: 512px }
"""


def draw_scan(
    folder: Path,
    record: ScanRecord,
    framed: npt.NDArray[Any],
    brain: npt.NDArray[np.bool_],
    origin: Shape,
    shape: Shape,
) -> None:
    """Write quality/<scan>.png: three middle planes of the aligned scan, the mask's outline and the kept box.

    Raises:
        OutputError: no room or no permission.
    """
    high = max(float(np.percentile(framed[brain], 99.5)) if brain.any() else 0.0, 1e-6)
    tiles = []
    for axis in range(3):
        middle = framed.shape[axis] // 2
        image, mask = np.take(framed, middle, axis), np.take(brain, middle, axis)
        grey = (255 * np.clip(image / high, 0, 1)).astype(np.uint8)
        tile = np.repeat(grey[..., None], 3, axis=-1)
        tile[mask ^ ndimage.binary_erosion(mask)] = OUTLINE
        rest = [i for i in range(3) if i != axis]
        (a, b), (c, d) = ((origin[i], origin[i] + shape[i] - 1) for i in rest)
        tile[[a, b], c : d + 1] = FRAME_COLOUR
        tile[a : b + 1, [c, d]] = FRAME_COLOUR
        # upwards is anterior or superior; leftwards the patient's right, or anterior
        tiles.append(Image.fromarray(np.ascontiguousarray(tile[::-1, ::-1])))
    page = Image.new("RGB", (sum(t.width for t in tiles), max(t.height for t in tiles)))
    x = 0
    for tile_image in tiles:
        page.paste(tile_image, (x, 0))
        x += tile_image.width
    with atomic_path(picture_path(folder, record.name)) as temporary:
        page.save(temporary)


def picture_path(folder: Path, name: str) -> Path:
    """Return the path of the image of a scan."""
    return folder / "quality" / f"{name}.png"


def write_sheet(folder: Path, scans: Sequence[ScanRecord], failed: Sequence[dict[str, str]]) -> None:
    """Write quality/index.html: what failed, then every scan, the doubtful ones and the worst alignments first.

    Raises:
        OutputError: no room or no permission.
    """
    doubted = sum(bool(scan.warnings) for scan in scans)
    ordered = sorted(scans, key=lambda scan: (not scan.warnings, scan.alignment))
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Prepared scans</title>",
        f"<style>{STYLE}</style><h1>Prepared scans</h1>",
        f"<p>{len(scans)} scans, {doubted} to review, {len(failed)} skipped.</p>",
        "<p>Red: outline of the brain; blue: what is kept. The patient's right is on the left.</p>",
    ]
    if failed:
        rows = "".join(f"<li>{html.escape(f['source'])}: {html.escape(f['reason'])}</li>" for f in failed)
        parts.append(f"<h2>Skipped scans</h2><ul>{rows}</ul>")
    parts += [_card(scan) for scan in ordered]
    write_text(folder / "quality" / SHEET, "\n".join(parts) + "\n")


def _card(scan: ScanRecord) -> str:
    name = html.escape(scan.name)
    notes = "".join(f"<p>{html.escape(warning)}</p>" for warning in scan.warnings)
    return (
        f"<div class='scan{' doubted' if scan.warnings else ''}'><img loading='lazy' src='{name}.png' alt='{name}'>"
        f"<p><b>{name}</b>: alignment {scan.alignment:.2f}, stripping {scan.stripping:.2f}, "
        f"brain {scan.brain_ml:.0f} mL, {100 * scan.cut:.1f} % of it cut off</p>{notes}</div>"
    )
