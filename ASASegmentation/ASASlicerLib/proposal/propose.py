"""Volumes of the scene proposed for the modalities of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import slicer

from asa.tasks import Modality
from ASASlicerLib.dicom_tags import read_tags
from ASASlicerLib.proposal.contrast import measure_contrast
from ASASlicerLib.proposal.matching import Candidate, propose
from ASASlicerLib.volumes import array_of

DERIVED_ATTRIBUTE = "ASA.look"  # of volumes that a model made of a scan; they are called after it


def usable_volumes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Single-valued image volumes that have voxels, in the scene's order, without what a model made of one."""
    found = []
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        image = volume.GetImageData()
        plain = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetHideFromEditors()
        plain = plain and not volume.GetAttribute(DERIVED_ATTRIBUTE)
        if plain and image is not None and image.GetPointData().GetScalars() is not None:
            found.append(volume)
    return found


def propose_volumes(
    volumes: Iterable[slicer.vtkMRMLScalarVolumeNode], modalities: Sequence[Modality]
) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """Modality key -> volume, for the modalities that some of the volumes fits."""
    keys = [modality.key for modality in modalities]
    required = [modality.key for modality in modalities if modality.required]
    known = {volume.GetID(): volume for volume in volumes}
    return {key: known[node] for key, node in propose(list(map(_candidate, known.values())), keys, required).items()}


def _candidate(volume: slicer.vtkMRMLScalarVolumeNode) -> Candidate:
    """A volume as the matching sees it."""
    contrast = measure_contrast(array_of(volume), volume.GetSpacing()[::-1])
    return Candidate(volume.GetID(), volume.GetName(), read_tags(volume), contrast)
