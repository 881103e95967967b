"""IBSR-18 v2. Its two label files differ greatly in CSF, so each is a separate data set.

In both, CSF is mostly the ventricles: it becomes the task's ventricular CSF.
"""

from __future__ import annotations

import re
from pathlib import Path

from asa.data.cases import Dataset, LabelledCase, find_image, find_images


def find_ibsr(root: Path, labels: str) -> list[LabelledCase]:
    """``IBSR_01/IBSR_01_ana_strip`` and the label file that ends in ``labels``."""
    folders = sorted(f for f in root.glob("IBSR_*") if f.is_dir() and re.fullmatch(r"IBSR_\d\d", f.name))
    return [
        LabelledCase(
            folder.name,
            folder.name,
            find_images({"t1": folder / f"{folder.name}_ana_strip"}),
            find_image(folder / f"{folder.name}_{labels}"),
        )
        for folder in folders
    ]


def ibsr(kind: str, labels: str) -> Dataset:
    """IBSR-18 with the label file that ends in ``labels``."""
    return Dataset(
        name=f"ibsr-{kind}",
        title=f"IBSR-18 ({labels})",
        task="tissue",
        modalities=("t1",),
        values={1: 1, 2: 2, 3: 3},
        find=lambda root: find_ibsr(root, labels),
    )
