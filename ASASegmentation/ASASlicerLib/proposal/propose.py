"""Suggest volumes of the scene for the modalities of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import slicer

from asa.tasks import Modality
from ASASlicerLib.dicom_tags import read_tags
from ASASlicerLib.proposal.contrast import measure_contrast
from ASASlicerLib.proposal.matching import Candidate, propose
from ASASlicerLib.volumes import array_of

DERIVED_ATTRIBUTE = "ASA.look"  # marks volumes that a model derived from a scan; they are named after it


def usable_volumes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Return scalar image volumes that have voxels, in scene order, without those derived by a model."""
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
    """Return modality key -> volume, for the modalities with a match."""
    keys = [modality.key for modality in modalities]
    required = [modality.key for modality in modalities if modality.required]
    known = {volume.GetID(): volume for volume in volumes}
    return {key: known[node] for key, node in propose(list(map(_candidate, known.values())), keys, required).items()}


def _candidate(volume: slicer.vtkMRMLScalarVolumeNode) -> Candidate:
    """Return the matching properties of a volume."""
    contrast = measure_contrast(array_of(volume), volume.GetSpacing()[::-1])
    return Candidate(volume.GetID(), volume.GetName(), read_tags(volume), contrast)
