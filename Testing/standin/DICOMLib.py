"""`DICOMLib.DICOMUtils` over pydicom, as far as the tests use it: a database of files, and loading a series from it.

Series of images become volumes as Slicer's scalar volume plugin makes them; DICOM segmentations become segmentation
nodes, read by highdicom where Slicer's plugin uses dcmqi.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import slicer
import vtk


class Database:
    """As much of ctkDICOMDatabase as is used."""

    isOpen = True

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._series: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, path: Path) -> None:
        """Adds a file."""
        import pydicom

        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        self._files[dataset.SOPInstanceUID] = str(path)
        self._series[dataset.SeriesInstanceUID].append(str(path))

    def filesForSeries(self, uid: str) -> tuple[str, ...]:
        return tuple(self._series[uid])

    def fileForInstance(self, uid: str) -> str:
        return self._files.get(uid, "")

    def instanceValue(self, uid: str, tag: str) -> str:
        import pydicom

        group, element = (int(part, 16) for part in tag.split(","))
        dataset = pydicom.dcmread(self._files[uid], stop_before_pixels=True)
        return str(dataset.get((group, element), SimpleNamespace(value="")).value)


class TemporaryDICOMDatabase:
    """A database while the context lasts."""

    def __enter__(self) -> Database:
        self._before = getattr(slicer, "dicomDatabase", None)
        slicer.dicomDatabase = Database()
        return slicer.dicomDatabase

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        slicer.dicomDatabase = self._before


def import_dicom(folder: str, database: Database | None = None) -> bool:
    """Adds the files of a folder to the database."""
    for path in sorted(Path(folder).rglob("*.dcm")):
        (database or slicer.dicomDatabase).add(path)
    return True


def load_series(uids: list[str]) -> list[str]:
    """Loads series and returns the ids of the nodes."""
    return [_load(slicer.dicomDatabase.filesForSeries(uid)).GetID() for uid in uids]


def _load(files: tuple[str, ...]) -> Any:
    import pydicom

    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    if first.Modality == "SEG":
        return _load_segmentation(files[0])
    volume = slicer.util.loadVolume(files[0])  # reads all slices of the series that lie beside it
    volume.SetName(f"{first.SeriesNumber}: {first.SeriesDescription}")
    uids = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in files]
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    return volume


def _load_segmentation(file: str) -> Any:
    """Makes a segment of each of the file on the grid of the volume that it refers to."""
    import highdicom

    seg = highdicom.seg.segread(file)
    sources = [str(one.ReferencedSOPInstanceUID) for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    volume = next(one for one in volumes if sources[0] in (one.GetAttribute("DICOM.instanceUIDs") or ""))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", seg.SeriesDescription)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slices = _uids_by_slice(volume)
    for number in range(1, seg.number_of_segments + 1):
        label = seg.get_segment_description(number).segment_label
        frames = seg.get_pixels_by_source_instance(slices, segment_numbers=[number], ignore_spatial_locations=True)
        key = node.GetSegmentation().AddEmptySegment("", label)
        slicer.util.updateSegmentBinaryLabelmapFromArray(frames[..., 0].astype(np.uint8), node, key, volume)
    return node


def _uids_by_slice(volume: Any) -> list[str]:
    """The instances of a volume in the order of its slices."""
    import pydicom

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(matrix)
    normal = [matrix.GetElement(row, 2) for row in range(3)]
    found = {}
    for uid in volume.GetAttribute("DICOM.instanceUIDs").split():
        dataset = pydicom.dcmread(slicer.dicomDatabase.fileForInstance(uid), stop_before_pixels=True)
        position = np.array(dataset.ImagePositionPatient, float) * (-1, -1, 1)  # LPS to RAS
        found[float(position @ normal)] = uid
    return [uid for _position, uid in sorted(found.items())]


DICOMUtils = SimpleNamespace(
    TemporaryDICOMDatabase=TemporaryDICOMDatabase, importDicom=import_dicom, loadSeriesByUID=load_series
)
