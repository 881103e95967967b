"""DICOM from end to end: load two series, suggestion by tags, segments, export, and back as a segmentation."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.fakes import head_array
from ASASlicerLib.tests.scene import wait_for

_THERE = all(importlib.util.find_spec(name) for name in ("pydicom", "highdicom", "DICOMLib"))
_ROOT = "1.2.826.0.1.3680043.8.498"
# Names that say nothing of the contrast: the timing does.
_SERIES = {
    "1": {"SeriesDescription": "Sag 3D", "EchoTime": 3.0, "RepetitionTime": 2300.0, "InversionTime": 900.0},
    "2": {"SeriesDescription": "Ax long", "EchoTime": 120.0, "RepetitionTime": 9000.0, "InversionTime": 2500.0},
}


def write_series(folder: Path, number: str, tags: dict[str, Any]) -> str:
    """Write a head in slices of 2 mm; return the UID of the series."""
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian

    folder.mkdir()
    series = f"{_ROOT}.{number}"
    for k, pixels in enumerate(head_array()):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
        path = folder / f"{k:03d}.dcm"
        image = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        values = {
            "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": _ROOT, "SeriesInstanceUID": series, "FrameOfReferenceUID": f"{_ROOT}.9",
            "Modality": "MR", "SeriesNumber": number, "InstanceNumber": k + 1, "PatientID": "1",
            "PatientName": "Test^Head",
            "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "StudyID": "", "PatientBirthDate": "",
            "PatientSex": "", "ReferringPhysicianName": "", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
            "ImagePositionPatient": [-40.0, -50.0, -30.0 + 2 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [2.0, 2.0], "SliceThickness": 2.0, "SamplesPerPixel": 1, "BitsAllocated": 16,
            "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME2",
            **tags,
        }  # fmt: skip
        for keyword, value in values.items():
            setattr(image, keyword, value)
        image.PixelData = pixels.astype("<i2").tobytes()
        image.save_as(str(path))
    return series


@unittest.skipUnless(_THERE, "needs pydicom, highdicom and DICOMLib")
class TestDicom(PanelTestCase):
    """From the files of a scanner to those of a viewer."""

    def setUp(self) -> None:
        super().setUp()
        self.utils = importlib.import_module("DICOMLib").DICOMUtils
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        context = self.utils.TemporaryDICOMDatabase()
        self.database = context.__enter__()
        self.addCleanup(lambda: context.__exit__(None, None, None))

    def load(self, uids: list[str], folder: Path) -> list[Any]:
        self.utils.importDicom(str(folder), self.database)
        return [slicer.mrmlScene.GetNodeByID(node) for node in self.utils.loadSeriesByUID(uids)]

    def test_from_loading_to_the_exported_segments_read_again(self) -> None:
        import pydicom

        uids = [write_series(self.folder / number, number, tags) for number, tags in _SERIES.items()]
        volumes = self.load(uids, self.folder)
        self.choose_task("wmh")
        wait_for(lambda: len(self.parameters.volumes()) == 1)  # the test model takes FLAIR alone
        self.assertIn("Ax long", self.parameters.volume("flair").GetName())
        self.choose_task("tissue")
        wait_for(self.parameters.volumes)
        self.assertIn("Sag 3D", self.parameters.volume("t1").GetName())

        node = self.segment()
        path = self.folder / "export" / "segmentation.dcm"
        path.parent.mkdir()
        self.dialogs.file = str(path)
        self.ui.exportButton.click()
        self.assertEqual(self.dialogs.messages, [])
        written = pydicom.dcmread(path)
        self.assertEqual((written.Modality, written.PatientID), ("SEG", "1"))

        expected = {
            node.GetSegmentation().GetSegment(key).GetName(): self.array(node, key).copy()
            for key in node.GetSegmentation().GetSegmentIDs()
        }
        self.assertTrue(all(array.any() for array in expected.values()))
        (read,) = self.load([written.SeriesInstanceUID], path.parent) or [None]
        if read is None:
            self.skipTest("this application reads no DICOM segmentations")
        segmentation = read.GetSegmentation()
        found = {segmentation.GetSegment(key).GetName(): key for key in segmentation.GetSegmentIDs()}
        self.assertEqual(set(found), set(expected))
        for name, array in expected.items():
            again = slicer.util.arrayFromSegmentBinaryLabelmap(read, found[name], volumes[0])
            np.testing.assert_array_equal(again != 0, array != 0, err_msg=name)

    def test_a_scan_resampled_since_it_was_loaded_is_refused_in_the_panel(self) -> None:
        self.load([write_series(self.folder / "1", "1", _SERIES["1"])], self.folder)
        wait_for(self.parameters.volumes)
        self.segment()
        volume = self.parameters.volume("t1")
        volume.SetSpacing(2.0, 2.0, 3.0)
        self.dialogs.file = str(self.folder / "segmentation.dcm")
        self.ui.exportButton.click()
        self.assertIn("has been moved or resampled", self.dialogs.messages[-1])
        self.assertFalse(Path(self.dialogs.file).exists())
