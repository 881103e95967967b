"""Volumes of the scene proposed for the modalities of a task."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from asa.tasks import Modality

from .contrast import measure_contrast
from .dicom_tags import read_tags
from .inputs import array_of
from .matching import Candidate, propose


def candidates(scene: slicer.vtkMRMLScene) -> list[Candidate]:
    """Every single-valued image volume of the scene, as the matching sees it."""
    found = []
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        image = volume.GetImageData()
        usable = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetHideFromEditors()
        if usable and image is not None and image.GetPointData().GetScalars() is not None:
            contrast = measure_contrast(array_of(volume), volume.GetSpacing()[::-1])
            found.append(Candidate(volume.GetID(), volume.GetName(), read_tags(volume), contrast))
    return found


def propose_volumes(
    scene: slicer.vtkMRMLScene, modalities: Sequence[Modality]
) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """Modality key -> volume, for the modalities that some volume fits."""
    keys = [modality.key for modality in modalities]
    required = [modality.key for modality in modalities if modality.required]
    return {key: scene.GetNodeByID(node) for key, node in propose(candidates(scene), keys, required).items()}
