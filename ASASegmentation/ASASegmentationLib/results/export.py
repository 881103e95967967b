"""Export a segmentation as .seg.nrrd, label map, DICOM, table or image."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from asa.tasks import TASKS
from ASASegmentationLib.results import scene
from ASASegmentationLib.results.dicom_seg import NotDicomError, export_dicom_seg
from ASASlicerLib import volumes
from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.steps import finish


class ExportError(Exception):
    """Nothing was written; the message for the user says why."""


def export(node: slicer.vtkMRMLSegmentationNode, path: Path, overview: bytes = b"") -> None:
    """Write a file in the format given by its name: .seg.nrrd, .nii.gz, .nii, .dcm, .csv, or .png.

    `overview` are the bytes of the .png file.

    Raises:
        ExportError: the format is unknown, or the file cannot be written; the message is for the user.
    """
    name = path.name.lower()
    try:
        if name.endswith(".seg.nrrd"):
            _export_segmentation(node, path)
        elif name.endswith((".nii", ".nii.gz")):
            _export_label_map(node, path)
        elif name.endswith(".dcm"):
            _export_dicom(node, path)
        elif name.endswith(".csv"):
            _export_table(node, path)
        elif name.endswith(".png"):
            _export_overview(path, overview)
        else:
            raise ExportError(_("Choose a file name that ends in .seg.nrrd, .nii.gz, .nii, .dcm, .csv or .png."))
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(_("{path} cannot be written: {reason}.").format(path=path, reason=reason)) from error


def _export_segmentation(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    # a separate storage node keeps the path under which the scene saves it
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetCropToMinimumExtent(False)
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError("The segmentation could not be written.")


def _export_dicom(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    volume = scene.scan_of(node)
    if volume is None:
        raise ExportError(_("DICOM export needs the scan in the scene."))
    try:
        export_dicom_seg(node, volume, path)
    except ImportError:
        raise ExportError(_("DICOM export needs the Python package highdicom, which is part of Slicer 5.12.")) from None
    except NotDicomError as error:
        raise ExportError(str(error)) from None


def _export_label_map(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    task, volume = TASKS.get(scene.task_name(node)), scene.scan_of(node)
    if task is None or volume is None:
        raise ExportError(_("Label map export needs a segmentation created by ASA and its scan in the scene."))
    labels = np.zeros(volumes.array_of(volume).shape, np.uint8)
    for label in task.labels:
        if node.GetSegmentation().GetSegment(label.name) is not None:
            inside = slicer.util.arrayFromSegmentBinaryLabelmap(node, label.name, volume)
            labels[inside != 0] = label.value
    finish(write_nifti(path, lambda: labels, volumes.ijk_to_ras(volume)))


def _export_table(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    table = scene.volume_table(node)
    if table is None:
        raise ExportError(_("This segmentation has no volume table."))
    headings, rows = scene.table_cells(table)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([headings, *rows])


def _export_overview(path: Path, overview: bytes) -> None:
    if not overview:
        raise ExportError(_("The overview image is available only right after segmenting."))
    path.write_bytes(overview)
