"""Export a segmentation as a DICOM Segmentation object that refers to the slices of its scan.

The object is written by the engine's writer, which imports highdicom, a part of Slicer 5.12, on export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from asa.dicom_export.segmentation import NotWritten, Segment, read_sources, write_segmentation
from asa.tasks import Code, Terminology
from ASASegmentationLib.segments.build import TERMINOLOGY_TAG
from ASASegmentationLib.segments.edits import segment_tag
from ASASlicerLib.dicom_tags import source_files
from ASASlicerLib.volumes import ijk_to_ras

_SAME_VOXELS = 0.05


class NotDicomError(Exception):
    """The scan is not from DICOM or was changed since; the message is for the user."""


def export_dicom_seg(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write the segments of `node` as binary segments on the slices from which `volume` was loaded.

    Raises:
        NotDicomError: the volume is not a DICOM series in the database, or was changed since.
        OSError: the file cannot be written.
        ImportError: highdicom is not installed.
    """
    slices = read_sources(source_files(volume))
    if not slices:
        raise NotDicomError(
            _("{volume} was not loaded from DICOM. Export the segmentation as .seg.nrrd instead.").format(
                volume=volume.GetName()
            )
        )
    frames = [_slice_index(dataset, volume) for dataset in slices]
    depth = volume.GetImageData().GetDimensions()[2]
    if len(set(frames)) < depth:  # segments on the missing slices would be lost silently
        text = _("Only {count} of the {depth} slices of {volume} are in the DICOM database. Import the series again.")
        raise NotDicomError(text.format(count=len(set(frames)), depth=depth, volume=volume.GetName()))
    keys = [key for key in node.GetSegmentation().GetSegmentIDs() if _has_voxels(node, key, volume)]
    if not keys:
        raise NotDicomError(_("All segments are empty; there is nothing to export."))
    segments = [_segment(node, key, volume, frames) for key in keys]
    try:
        write_segmentation(path, slices, segments, node.GetName(), automatic=False)  # the user may have corrected it
    except NotWritten as error:
        text = _("The segmentation of {volume} cannot be exported as DICOM: {reason}.")
        raise NotDicomError(text.format(volume=volume.GetName(), reason=error)) from None


def _has_voxels(node: slicer.vtkMRMLSegmentationNode, key: str, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    return bool(slicer.util.arrayFromSegmentBinaryLabelmap(node, key, volume).any())


def _slice_index(dataset: Any, volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    """Return the slice k of a DICOM image in the volume. Raises NotDicomError unless rows and columns match."""
    if not hasattr(dataset, "ImageOrientationPatient"):  # enhanced DICOM stores it per frame
        text = _(
            "{volume} is a multi-frame DICOM image, which is not supported. Export the segmentation as "
            ".seg.nrrd instead."
        )
        raise NotDicomError(text.format(volume=volume.GetName()))
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    row, column = np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3))
    spacing = np.array(dataset.PixelSpacing, float)
    corner = np.array(dataset.ImagePositionPatient, float)
    opposite = corner + row * spacing[1] * (dataset.Columns - 1) + column * spacing[0] * (dataset.Rows - 1)
    to_ijk = np.linalg.inv(ijk_to_ras(volume))
    first, last = (to_ijk[:3, :3] @ lps_to_ras @ point + to_ijk[:3, 3] for point in (corner, opposite))
    k = round(float(first[2]))
    expected = ([0, 0, k], [dataset.Columns - 1, dataset.Rows - 1, k])
    depth = volume.GetImageData().GetDimensions()[2]
    if not 0 <= k < depth or not np.allclose((first, last), expected, atol=_SAME_VOXELS):
        raise NotDicomError(
            _(
                "{volume} has been moved or resampled since it was loaded from DICOM. Export the "
                "segmentation as .seg.nrrd instead."
            ).format(volume=volume.GetName())
        )
    return k


def _segment(
    node: slicer.vtkMRMLSegmentationNode, key: str, volume: slicer.vtkMRMLScalarVolumeNode, frames: list[int]
) -> Segment:
    """Return a segment on the slices ``frames`` of the volume. Raises NotDicomError without a terminology entry."""
    segment = node.GetSegmentation().GetSegment(key)
    codes = _codes(segment_tag(segment, TERMINOLOGY_TAG))
    if len(codes) < 2:
        raise NotDicomError(
            _("{segment} has no terminology entry. Choose one in the module Segmentations.").format(
                segment=segment.GetName()
            )
        )
    red, green, blue = (round(255 * channel) for channel in segment.GetColor())
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, volume)[frames] != 0
    category, kind, *regions = codes
    terms = Terminology(category, kind, regions[0] if regions else None)
    return Segment(segment.GetName(), terms, (red, green, blue), mask)


def _codes(entry: str) -> list[Code]:
    """Return category, type and, if present, region of a Slicer terminology entry."""
    parts = entry.split("~")
    if len(parts) < 6:
        return []
    codes = [parts[index].split("^") for index in (1, 2, 5)]
    return [Code(scheme, value, meaning) for scheme, value, meaning in codes if value]
