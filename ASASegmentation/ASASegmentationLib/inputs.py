"""Volumes of the scene as inputs of a job: what is wrong with them, and copies of them in one common space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from asa.tasks import Modality

from .nifti import write_nifti

_SAME_MM = 1e-3


@dataclass(frozen=True)
class Snapshot:
    """A copy of a volume, taken when a job starts: later changes in the scene do not reach it.

    `array` is (K, J, I); `ijk_to_ras` is 4x4 in mm, in the space of the first input before its transforms.
    """

    modality: str
    array: np.ndarray
    ijk_to_ras: np.ndarray

    def write(self, folder: Path) -> Path:
        """Writes it as <modality>.nii. Raises OSError."""
        path = folder / f"{self.modality}.nii"
        write_nifti(path, self.array, self.ijk_to_ras)
        return path


def problem(modalities: Sequence[Modality], volumes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> str:
    """Why these volumes (modality key -> node) cannot be segmented, in a sentence for the user; "" when they can."""
    missing = [m.title for m in modalities if m.required and m.key not in volumes]
    if missing:
        return f"Choose a volume for {' and '.join(missing)}."
    titles = {modality.key: modality.title for modality in modalities}
    seen: dict[str, str] = {}
    for key, volume in volumes.items():
        if reason := unusable(volume):
            return f"{titles[key]}: {reason}"
        if volume.GetID() in seen:
            return f"{volume.GetName()} is chosen for both {seen[volume.GetID()]} and {titles[key]}."
        seen[volume.GetID()] = titles[key]
    first, *others = volumes.values()
    for volume in others:
        if curved(volume) and volume.GetParentTransformNode() is not first.GetParentTransformNode():
            return f"{volume.GetName()} is under a non-linear transform; harden the transform first."
    return ""


def notes(volumes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> list[str]:
    """What the user should know although it can be segmented."""
    if not volumes:
        return []
    first, *others = volumes.values()
    return [
        f"{volume.GetName()} has another grid than {first.GetName()} and will be resampled."
        for volume in others
        if not _same_grid(first, volume)
    ]


def unusable(volume: slicer.vtkMRMLVolumeNode) -> str:
    """Why a volume is no image to work on, in a sentence; "" when it is."""
    name = volume.GetName()
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        return f"{name} is a label map, not an image."
    if not volume.IsA("vtkMRMLScalarVolumeNode"):
        return f"{name} is not an image volume."
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return f"{name} has no voxels."
    if volume.IsA("vtkMRMLVectorVolumeNode") or image.GetNumberOfScalarComponents() != 1:
        return f"{name} has several values in each voxel; choose an image with one, such as a single time point."
    if min(image.GetDimensions()) < 2:
        return f"{name} is a single slice; a volume is needed."
    return ""


def ijk_to_ras(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """The 4x4 affine of a volume in mm, before its transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def to_world(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """What the linear transforms above a volume do, 4x4 in mm."""
    transform = volume.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def curved(volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether a transform above a volume is not linear."""
    transform = volume.GetParentTransformNode()
    return transform is not None and not transform.IsTransformToWorldLinear()


def _in_space_of(first: slicer.vtkMRMLVolumeNode, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """The affine of `volume` to the untransformed space of `first`. A shared transform, curved or not, drops out."""
    if first.GetParentTransformNode() is volume.GetParentTransformNode():
        return ijk_to_ras(volume)
    return np.linalg.inv(to_world(first)) @ to_world(volume) @ ijk_to_ras(volume)


def _same_grid(first: slicer.vtkMRMLVolumeNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    same_size = first.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    return same_size and np.allclose(_in_space_of(first, volume), ijk_to_ras(first), atol=_SAME_MM)


def snapshots(volumes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> list[Snapshot]:
    """Copies of all volumes. The first one's untransformed space is common to all, and to the result."""
    first = next(iter(volumes.values()))
    return [Snapshot(key, array_of(volume).copy(), _in_space_of(first, volume)) for key, volume in volumes.items()]


def array_of(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """The voxels (K, J, I), not a copy."""
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
