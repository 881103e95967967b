"""Check volumes of the scene as inputs of a job, and write them in a common space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from asa.tasks import Modality
from ASASlicerLib.names import shortened
from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.steps import Steps

_SAME_MM = 1e-3


class ChangedError(Exception):
    """The voxels of an input changed while they were being written; the message is for the user."""


class Snapshot:
    """An input image at the start of a job; it stays readable when its node is removed or gets another image.

    `voxels` returns the array (K, J, I); `ijk_to_ras` is 4x4 in mm, in the common space of the inputs.
    """

    def __init__(self, name: str, voxels: Callable[[], np.ndarray], ijk_to_ras: np.ndarray) -> None:
        self.name = name
        self._voxels = voxels
        self.ijk_to_ras = ijk_to_ras

    @classmethod
    def of(cls, name: str, volume: slicer.vtkMRMLVolumeNode, reference: slicer.vtkMRMLVolumeNode) -> Snapshot:
        """Return a snapshot of a volume in the untransformed space of `reference`.

        Raises:
            ChangedError: the volume changed while it was being read.
        """
        title, shape = volume.GetName(), volume.GetImageData().GetDimensions()[::-1]
        scalars = volume.GetImageData().GetPointData().GetScalars()
        version = scalars.GetMTime()

        def voxels() -> np.ndarray:
            if scalars.GetMTime() != version:
                raise ChangedError(_("{volume} was changed while it was being read. Try again.").format(volume=title))
            return vtk_to_numpy(scalars).reshape(shape)

        return cls(name, voxels, _in_space_of(reference, volume))

    def write(self, folder: Path) -> Steps[Path]:
        """Write <name>.nii.

        Raises:
            OSError: the file cannot be written.
            ChangedError: the voxels changed in the meantime.
        """
        path = folder / f"{self.name}.nii"
        yield from write_nifti(path, self._voxels, self.ijk_to_ras)
        self._voxels()  # raises if they changed
        return path


def problem(modalities: Sequence[Modality], volumes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> str:
    """Return why these volumes (modality key -> node) cannot be segmented, as a sentence, or "" if they can."""
    missing = [_(m.title) for m in modalities if m.required and m.key not in volumes]
    if missing:
        return _("Choose a volume for {modalities}.").format(modalities=_(" and ").join(missing))
    if not volumes:
        return _("Choose a volume.")
    titles = {modality.key: _(modality.title) for modality in modalities}
    seen: dict[str, str] = {}
    for key, volume in volumes.items():
        if reason := unusable(volume):
            return f"{titles[key]}: {reason}"
        if volume.GetID() in seen:
            return _("{volume} is selected for both {first} and {second}.").format(
                volume=shortened(volume.GetName()), first=seen[volume.GetID()], second=titles[key]
            )
        seen[volume.GetID()] = titles[key]
    return ""


def notes(volumes: Mapping[str, slicer.vtkMRMLVolumeNode], reference: slicer.vtkMRMLVolumeNode | None) -> list[str]:
    """Return notes for the user about volumes that can be segmented."""
    text = _("{volume} is not on the grid of {reference} and will be resampled.")
    return [
        text.format(volume=volume.GetName(), reference=reference.GetName())
        for volume in volumes.values()
        if reference is not None and not _same_grid(reference, volume)
    ]


def unusable(volume: slicer.vtkMRMLVolumeNode) -> str:
    """Return why a volume cannot be used as an image, as a sentence, or "" if it can."""
    image = volume.GetImageData()
    reason = ""
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        reason = _("{volume} is a label map, not an image.")
    elif not volume.IsA("vtkMRMLScalarVolumeNode"):
        reason = _("{volume} is not an image volume.")
    elif image is None or image.GetPointData().GetScalars() is None:
        reason = _("{volume} has no voxels.")
    elif volume.IsA("vtkMRMLVectorVolumeNode") or image.GetNumberOfScalarComponents() != 1:
        reason = _("{volume} has several values per voxel. Choose a scalar volume, such as a single time point.")
    elif min(image.GetDimensions()) < 2:
        reason = _("{volume} is a single slice. Choose a 3-D volume.")
    elif nonlinear(volume):
        reason = _(
            "{volume} is under a non-linear transform, which would make volume measurements invalid. Harden "
            "or remove the transform first."
        )
    return reason.format(volume=shortened(volume.GetName()))


@dataclass(frozen=True)
class Origin:
    """A scan at the start of a job: its id remains valid after the node is removed; `affine` is its 4x4 then."""

    scene: slicer.vtkMRMLScene
    volume_id: str
    volume_name: str
    affine: np.ndarray

    @classmethod
    def of(cls, scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLVolumeNode) -> Origin:
        """Return where a scan is now."""
        return cls(scene, scan.GetID(), scan.GetName(), ijk_to_ras(scan))

    @property
    def volume(self) -> slicer.vtkMRMLVolumeNode | None:
        """The scan; None if it was removed."""
        node: slicer.vtkMRMLVolumeNode | None = self.scene.GetNodeByID(self.volume_id)
        return node

    @property
    def name(self) -> str:
        """The name of the scan, its last known one if it was removed."""
        volume = self.volume
        return str(volume.GetName()) if volume is not None else self.volume_name

    def moved(self) -> np.ndarray:
        """Return the matrix from the scan's position at the start to its current one, in case a transform was hardened.

        Parent transforms are applied to the segmentation instead.
        """
        volume = self.volume
        return ijk_to_ras(volume) @ np.linalg.inv(self.affine) if volume is not None else np.eye(4)


def ijk_to_ras(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the 4x4 affine of a volume in mm, before its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def to_world(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the linear parent transforms of a volume as a 4x4 matrix in mm."""
    transform = volume.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def nonlinear(volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Return whether a parent transform of a volume is non-linear."""
    transform = volume.GetParentTransformNode()
    return transform is not None and not transform.IsTransformToWorldLinear()


def _in_space_of(first: slicer.vtkMRMLVolumeNode, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the affine of `volume` in the untransformed space of `first`. A shared transform cancels out."""
    if first.GetParentTransformNode() is volume.GetParentTransformNode():
        return ijk_to_ras(volume)
    moved: np.ndarray = np.linalg.inv(to_world(first)) @ to_world(volume) @ ijk_to_ras(volume)
    return moved


def _same_grid(first: slicer.vtkMRMLVolumeNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    same_size = first.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    return same_size and np.allclose(_in_space_of(first, volume), ijk_to_ras(first), atol=_SAME_MM)


def snapshots(volumes: Mapping[str, slicer.vtkMRMLVolumeNode], reference: slicer.vtkMRMLVolumeNode) -> list[Snapshot]:
    """Return snapshots of all volumes in the untransformed space of the reference, which is also that of the result."""
    return [Snapshot.of(key, volume, reference) for key, volume in volumes.items()]


def array_of(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the voxels (K, J, I) without copying."""
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
