"""Draw the figures of docs/explanation/method.md, each from the code that it explains.

Usage: python Resources/Scripts/documentation/figures.py [FOLDER] [--only NAME ...]      (default: docs/images)

Needs the extras `docs`, `train` and `sample`: the head is the MNI152 template that the nilearn wheel brings.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from network_figure import network

from asa.nn.attention import allowed_pairs
from asa.nn.config import STARTER_FRAME
from asa.nn.position import Scheme, position_index, sinusoid
from asa.pretext.vhog import WEIGHT_MODES, importance
from asa.volume import read_volume

REPOSITORY = Path(__file__).resolve().parents[3]
SAMPLE = REPOSITORY / "Resources" / "Scripts" / "sample_image.py"
ENCODER = REPOSITORY / "Resources" / "Models" / "encoder"
DIM, PATCH = 192, 8
BLUE, GREY = "#3949ab", "#eceff1"
mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "asa", "axes.titlesize": 9})


def bare(axes: Axes, title: str) -> None:
    """An axes without ticks, with a title."""
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])


def spe() -> Figure:
    """Index of the patches of one axial layer, and how alike the codes of two places are."""
    depth, _height, width = STARTER_FRAME
    layer = depth // 2
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    first, *others = figure.subplots(1, 3)
    index = position_index(STARTER_FRAME, STARTER_FRAME).reshape(STARTER_FRAME)[layer].numpy()
    shown = first.imshow(index - index.min(), origin="lower", cmap="viridis")
    bare(first, "Index of Eq. 3 (one axial layer)")
    first.axvline(width / 2 - 0.5, color="white", linewidth=1, linestyle=":")
    first.set_xlabel("left – right (W)")
    first.set_ylabel("posterior – anterior (H)")
    figure.colorbar(shown, ax=first, shrink=0.8)
    marked = (13, 5)
    schemes: list[tuple[Scheme, str]] = [
        ("symmetric", "symmetric code"),
        ("sinusoid", "code of the vanilla transformer"),
    ]
    for axes, (scheme, title) in zip(others, schemes, strict=True):
        codes = sinusoid(position_index(STARTER_FRAME, STARTER_FRAME, scheme=scheme), DIM)
        codes = torch.nn.functional.normalize(codes, dim=1).reshape(*STARTER_FRAME, DIM)[layer]
        like = (codes @ codes[marked]).numpy()
        shown = axes.imshow(like, origin="lower", cmap="magma", vmin=0, vmax=1)
        axes.plot(marked[1], marked[0], "o", mfc="none", color="cyan", markersize=9)
        bare(axes, f"Likeness to the circled patch:\n{title}")
    figure.colorbar(shown, ax=others, shrink=0.8, label="cosine")
    return figure


def windows() -> Figure:
    """Which token sees which, in plain and in shifted windows, of a short sequence."""
    tokens, size = 24, 8
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, shift in zip(figure.subplots(1, 2), (0, size // 2), strict=True):
        seen = np.zeros((tokens, tokens))
        place = np.roll(np.arange(tokens), -shift).reshape(-1, size)
        allowed = allowed_pairs(tokens, size, shift)
        for number, members in enumerate(place):
            pairs = np.ones((size, size), bool) if allowed is None else allowed[number].numpy()
            seen[np.ix_(members, members)] = np.where(pairs, number + 1, -1)
        colours = ["#ef9a9a", GREY, BLUE, "#00897b", "#fb8c00"]
        axes.imshow(seen, cmap=mpl.colors.ListedColormap(colours), vmin=-1, vmax=3)
        axes.set_xticks(range(0, tokens, 4))
        axes.set_yticks(range(0, tokens, 4))
        axes.set_xlabel("token that is seen")
        axes.set_ylabel("token that sees")
        name = "SLW-MSA: shifted by half a window" if shift else "LW-MSA: windows of the sequence"
        axes.set_title(f"{name} (S = {size})")
    figure.supxlabel(
        "One colour a window. Red: in one window only because the shift wraps around the end of the sequence; masked.",
        fontsize=9,
    )
    return figure


def panel(axes: Axes, plane: npt.NDArray[Any], title: str, **options: Any) -> Any:
    """One axial plane, anterior up."""
    bare(axes, title)
    return axes.imshow(plane, origin="lower", **options)


@cache
def inspected() -> dict[str, npt.NDArray[np.float32]]:
    """What ``asa inspect`` writes of the template with the shipped auto-encoder: name -> array (T, H, W), cut to whole
    patches."""
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head.nii.gz"
        for words in ([SAMPLE, head], ["-m", "asa", "inspect", ENCODER, "--image", head, "--output", folder]):
            subprocess.run([sys.executable, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
        names = ("image", "hidden", "reconstruction", "error")
        arrays = {name: read_volume(Path(folder) / f"{name}.nii.gz", labels=name == "hidden").array for name in names}
    whole = tuple(slice(0, n // PATCH * PATCH) for n in arrays["image"].shape)
    return {name: np.asarray(array[whole], np.float32) for name, array in arrays.items()}


def vhog() -> Figure:
    """Importance of the patches of the template in three ways."""
    image = inspected()["image"]
    layer = image.shape[0] // 2
    figure = Figure(figsize=(9, 3.7), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(WEIGHT_MODES))
    panel(first, image[layer], "T1 (MNI152 template)", cmap="gray")
    for axes, mode in zip(others, WEIGHT_MODES, strict=True):
        weight = importance(torch.from_numpy(image)[None, None], PATCH, mode=mode)[0]
        weight = weight.reshape([n // PATCH for n in image.shape])
        drawn = panel(axes, weight[layer // PATCH].numpy(), f"weight_mode: {mode}", cmap="magma", vmin=0)
        figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.8, format="%.2g")
    return figure


def reconstruction() -> Figure:
    """What is hidden from the shipped auto-encoder, and what it fills in."""
    shown = inspected()
    image, hidden = shown["image"], shown["hidden"] > 0
    layer = image.shape[0] // 2
    grey = {"vmin": 0.0, "vmax": float(np.percentile(image[image > 0], 99.5))}
    colours = mpl.colormaps["gray"].copy()
    colours.set_bad("#90a4ae")
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    one, two, three, four = figure.subplots(1, 4)
    panel(one, image[layer], "image", cmap="gray", **grey)
    panel(two, np.where(hidden, np.nan, image)[layer], "what the encoder sees (25 %)", cmap=colours, **grey)
    panel(three, shown["reconstruction"][layer], "reconstruction", cmap="gray", **grey)
    drawn = panel(four, np.abs(shown["error"])[layer], "absolute error (SD)", cmap="magma", vmin=0, vmax=3)
    figure.colorbar(drawn, ax=four, shrink=0.8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "network.svg": network,
    "spe.png": spe,
    "windows.svg": windows,
    "vhog.png": vhog,
    "reconstruction.png": reconstruction,
}


def draw(name: str, folder: Path) -> Path:
    """Draw one figure; the same code gives the same file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    FIGURES[name]().savefig(path, dpi=110, metadata=metadata)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the figures of the documentation.")
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=list(FIGURES))
    options = parser.parse_args()
    for name in options.only:
        print(draw(name, options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
