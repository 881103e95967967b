"""The real heads that benchmarks measure on; where they lie, and how their labels are called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asa.geometry import resample
from asa.volume import Grid, read_volume, write_volume

# Labels of the references, and of what the peers write: 1 CSF (mostly ventricles), 2 grey, 3 white matter.
REFERENCE_REGIONS: dict[str, tuple[int, ...]] = {"CSF": (1,), "GM": (2,), "WM": (3,)}

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
_FILES = {"ibsr": ("_ana_strip.nii.gz", "_segTRI_ana.nii.gz"), "malf": ("_SS.nii.gz", "_classified.nii.gz")}


@dataclass(frozen=True)
class Head:
    """A brain-stripped T1 with its manual segmentation."""

    dataset: str
    name: str
    image: Path
    reference: Path


def data_root() -> Path:
    """Folder of the real heads: $ASA_DATA, or ../shared/data next to the checkout."""
    return Path(os.environ.get("ASA_DATA") or REPOSITORY.parent / "shared" / "data")


def find_heads(root: Path, names: list[str] | None = None) -> list[Head]:
    """All heads with tissue labels under ``root``, by data set and name; ``names`` restricts them.

    Raises:
        SystemExit: none there, or one of ``names`` is missing; says where it looked.
    """
    heads = [
        Head(dataset, folder.name, folder / (folder.name + image), folder / (folder.name + reference))
        for dataset, (image, reference) in _FILES.items()
        for folder in sorted((root / dataset).glob("*/"))
        if (folder / (folder.name + image)).is_file()
    ]
    known = {head.name for head in heads}
    absent = sorted(set(names or ()) - known)
    if not heads or absent:
        raise SystemExit(f"no head{'s' if not absent else ' ' + ', '.join(absent)} under {root}; set ASA_DATA")
    return [head for head in heads if not names or head.name in names]


def cube_of_256(path: Path) -> None:
    """Write a real head on a grid of 256x256x256 voxels of 1 mm, centred, as scanners and FreeSurfer give it."""
    (head,) = find_heads(data_root(), ["1000"])
    volume = read_volume(head.image)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = 1.0
    affine[:3, 3] = volume.grid.centre - 127.5
    affine[3, 3] = 1.0
    write_volume(resample(volume, Grid((256, 256, 256), affine), 1), path, dtype=np.int16)
