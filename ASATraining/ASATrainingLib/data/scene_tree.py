"""Export volumes of the scene as a tree of scans for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.steps import Steps
from ASASlicerLib.volumes import array_of, ijk_to_ras


def write_tree(volumes: Sequence[Any], folder: Path) -> Steps[None]:
    """Write each volume as <folder>/sub-NNN_T1w.nii, in steps.

    Subjects are numbered, because volume names may contain patient names.

    Raises:
        OSError: a file cannot be written.
        ChangedError: a volume changed while it was being written.
    """
    for old in folder.glob("sub-*_T1w.nii"):
        old.unlink()
    for number, volume in enumerate(volumes, start=1):
        path = folder / f"sub-{number:03d}_T1w.nii"
        yield from write_nifti(path, partial(array_of, volume), ijk_to_ras(volume))
