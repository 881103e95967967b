"""DICOM attributes of a volume in the scene, where it came from DICOM."""

from __future__ import annotations

import slicer

_TAGS = {
    "SeriesDescription": "0008,103E",
    "ContrastBolusAgent": "0018,0010",
    "RepetitionTime": "0018,0080",
    "EchoTime": "0018,0081",
    "InversionTime": "0018,0082",
}


def instance_uids(volume: slicer.vtkMRMLVolumeNode) -> list[str]:
    """SOP instance UIDs of the slices of a volume; none when it did not come from DICOM."""
    return (volume.GetAttribute("DICOM.instanceUIDs") or "").split()


def source_files(volume: slicer.vtkMRMLVolumeNode) -> list[str]:
    """The DICOM files a volume was loaded from; none without database or DICOM."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    return [file for uid in instance_uids(volume) if (file := database.fileForInstance(uid))]


def read_tags(volume: slicer.vtkMRMLVolumeNode) -> dict[str, str]:
    """What the database says of the first slice, by keyword; {} without database or DICOM."""
    uids = instance_uids(volume)
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return {}
    return {keyword: value for keyword, tag in _TAGS.items() if (value := database.instanceValue(uids[0], tag))}
