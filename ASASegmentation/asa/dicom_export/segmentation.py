"""DICOM Segmentation objects that refer to the images they were made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa import __version__
from asa.silence import quiet_dicom
from asa.tasks import Code, Colour, Terminology

NAME = "ASA for 3D Slicer"
_SERIES_NUMBER = 1000
_LONGEST = 64  # characters of a short text (LO)
_AGE = re.compile(r"\d{3}[DWMY]")
# Attributes that must be there, if only empty (type 2), and that anonymised files often lack.
_EXPECTED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment on the images of a series.

    Attributes:
        name: for people.
        terminology: category, type and, where the type does not say it, region.
        colour: red, green, blue in 0..255.
        mask: boolean (frames, rows, columns), in the order of the images.
    """

    name: str
    terminology: Terminology
    colour: Colour
    mask: npt.NDArray[np.bool_]


class NotWritten(Exception):
    """The object cannot be made of these images; the text says why, as a clause."""


def read_sources(files: Sequence[Path | str]) -> list[Any]:
    """Read the headers of images; attributes that a derived object needs are added, if only empty.

    Raises:
        ImportError: pydicom is not installed.
    """
    import pydicom

    with quiet_dicom():
        sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for source in sources:
        for keyword in _EXPECTED:
            if keyword not in source:
                setattr(source, keyword, "")
        if not _AGE.fullmatch(str(getattr(source, "PatientAge", ""))):
            source.PatientAge = ""  # which would make the new object invalid, too
    return sources


def write_segmentation(
    path: Path, sources: Sequence[Any], segments: Sequence[Segment], title: str, *, automatic: bool
) -> Any:
    """Write segments as binary segments.

    The patient and study of the images are repeated, as the standard requires: the file identifies the patient.

    Args:
        path: the file.
        sources: headers of the images (:func:`read_sources`); one of a multi-frame image.
        segments: at least one.
        title: description of the series.
        automatic: False if a user may have edited them.

    Returns:
        The object.

    Raises:
        ImportError: highdicom is not installed.
        NotWritten: there is no segment, or the images lack what the object needs.
        OSError: the file cannot be written.
    """
    import highdicom

    if not segments:
        raise NotWritten("all segments are empty")
    if not all(getattr(source, "FrameOfReferenceUID", "") for source in sources):
        raise NotWritten("the images have no frame of reference")
    kinds = highdicom.seg.SegmentAlgorithmTypeValues
    try:
        with quiet_dicom():
            result = highdicom.seg.Segmentation(
                source_images=list(sources),
                pixel_array=np.stack([segment.mask for segment in segments], axis=-1).astype(np.uint8),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    _description(number, segment, kinds.AUTOMATIC if automatic else kinds.SEMIAUTOMATIC)
                    for number, segment in enumerate(segments, 1)
                ],
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=NAME,
                manufacturer_model_name=NAME,
                software_versions=__version__,
                device_serial_number="0",
                series_description=title[:_LONGEST],
                content_label="SEGMENTATION",
            )
    except (AttributeError, TypeError, ValueError) as error:  # of a header that lacks required attributes
        raise NotWritten("the images lack attributes that the standard requires") from error
    with quiet_dicom():
        result.save_as(path)
    return result


def concept(code: Code) -> Any:
    """Return a code as highdicom has it."""
    import highdicom

    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _description(number: int, segment: Segment, kind: Any) -> Any:
    import highdicom

    terms = segment.terminology
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:_LONGEST],
        segmented_property_category=concept(terms.category),
        segmented_property_type=concept(terms.type),
        algorithm_type=kind,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME,
            version=__version__,
            family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        ),
        anatomic_regions=[concept(terms.region)] if terms.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )
