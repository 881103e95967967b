"""Volumes of the scene as a tree of scans on disk, for the engine to prepare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer

from ASASegmentationLib.inputs import array_of, ijk_to_ras
from ASASegmentationLib.nifti import write_nifti
from ASASegmentationLib.steps import Steps


def usable_volumes(scene: slicer.vtkMRMLScene) -> list[Any]:
    """Single-valued image volumes that have voxels, in the scene's order."""
    found = []
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        image = volume.GetImageData()
        plain = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetHideFromEditors()
        if plain and image is not None and image.GetPointData().GetScalars() is not None:
            found.append(volume)
    return found


def write_tree(volumes: Sequence[Any], folder: Path) -> Steps[None]:
    """Writes each volume as <folder>/sub-NNN_T1w.nii, piece by piece.

    Subjects are numbered, because names of volumes may be names of patients. Raises OSError.
    """
    for number, volume in enumerate(volumes, start=1):
        path = folder / f"sub-{number:03d}_T1w.nii"
        yield from write_nifti(path, lambda volume=volume: array_of(volume), ijk_to_ras(volume))
