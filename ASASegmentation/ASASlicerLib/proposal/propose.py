"""Suggest volumes of the scene for the modalities of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import slicer

from asa.modalities.contrast import measure_contrast
from asa.modalities.matching import Candidate, propose
from asa.tasks import Modality
from ASASlicerLib.dicom_tags import instance_uids, read_tags
from ASASlicerLib.steps import Steps, finish
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
    known = {volume.GetID(): volume for volume in volumes}
    return {key: known[node] for key, node in propose_nodes(finish(Survey().look(known.values())), modalities).items()}


def propose_nodes(candidates: Sequence[Candidate], modalities: Sequence[Modality]) -> dict[str, str]:
    """Return modality key -> node id, for the modalities with a match."""
    required = [modality.key for modality in modalities if modality.required]
    return propose(candidates, [modality.key for modality in modalities], required)


class Survey:
    """Matching properties of volumes, measured again only after a volume was renamed or its voxels changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, Candidate]] = {}

    def look(self, volumes: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> Steps[list[Candidate]]:
        """Return the properties of volumes, in their order. A volume is measured in one step."""
        known = {}
        for volume in volumes:
            node, version = volume.GetID(), _version(volume)
            before = self._known.get(node)
            if before is None or before[0] != version:
                before = (version, _candidate(volume))
                yield True
            known[node] = before
        self._known = known
        return [candidate for _version, candidate in known.values()]


def _version(volume: slicer.vtkMRMLScalarVolumeNode) -> object:
    scalars = volume.GetImageData().GetPointData().GetScalars()
    return (volume.GetName(), tuple(instance_uids(volume)[:1]), volume.GetSpacing(), scalars.GetMTime())


def _candidate(volume: slicer.vtkMRMLScalarVolumeNode) -> Candidate:
    """Return the matching properties of a volume."""
    contrast = measure_contrast(array_of(volume), volume.GetSpacing()[::-1])
    return Candidate(volume.GetID(), volume.GetName(), read_tags(volume), contrast)
