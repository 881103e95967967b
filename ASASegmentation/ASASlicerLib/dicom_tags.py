"""Read DICOM attributes of volumes that were loaded from DICOM."""

from __future__ import annotations

import slicer

from asa.modalities.matching import TAGS


def instance_uids(volume: slicer.vtkMRMLVolumeNode) -> list[str]:
    """Return the SOP instance UIDs of the slices of a volume; empty if it is not from DICOM."""
    return (volume.GetAttribute("DICOM.instanceUIDs") or "").split()


def source_files(volume: slicer.vtkMRMLVolumeNode) -> list[str]:
    """Return the DICOM files of a volume; empty without a database or if it is not from DICOM."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    return [file for uid in instance_uids(volume) if (file := database.fileForInstance(uid))]


def read_tags(volume: slicer.vtkMRMLVolumeNode) -> dict[str, str]:
    """Return the tags of the first slice by keyword; {} without a database or if it is not from DICOM."""
    uids = instance_uids(volume)
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return {}
    return {keyword: value for keyword, tag in TAGS.items() if (value := database.instanceValue(uids[0], tag))}
