"""Volumes as a DICOM structured report: TID 1500, Measurement Report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asa import __version__
from asa.dicom_export.segmentation import NAME, NotWritten, concept
from asa.silence import quiet_dicom
from asa.tasks import Code, Terminology

_SERIES_NUMBER = 1001
_VOLUME = Code("SCT", "118565006", "Volume")
_MILLILITRE = Code("UCUM", "mL", "milliliter")
_MRI = Code("SCT", "113091000", "Magnetic resonance imaging")
_DEVICE = Code("DCM", "121007", "Device")
_TITLE = Code("DCM", "126000", "Imaging Measurement Report")


@dataclass(frozen=True)
class MeasuredVolume:
    """One volume.

    Attributes:
        name: for people; unique within the report.
        terminology: what was measured.
        volume_ml: in mL.
        segment: number of its segment in the segmentation object, from 1; None where it has none.
    """

    name: str
    terminology: Terminology
    volume_ml: float
    segment: int | None = None


def write_measurements(
    path: Path, sources: Sequence[Any], segmentation: Any, volumes: Sequence[MeasuredVolume], title: str
) -> None:
    """Write a measurement report.

    The patient and study of the images are repeated, as the standard requires: the file identifies the patient. The
    report is marked as not verified.

    Args:
        path: the file.
        sources: headers of the images.
        segmentation: object of :func:`asa.dicom_export.segmentation.write_segmentation`, None where nothing was found.
        volumes: what was measured.
        title: description of the series.

    Raises:
        ImportError: highdicom is not installed.
        NotWritten: the images lack what the report needs.
        OSError: the file cannot be written.
    """
    try:
        with quiet_dicom():
            _report(sources, segmentation, volumes, title).save_as(path)
    except (AttributeError, TypeError, ValueError) as error:  # of a header that lacks required attributes
        raise NotWritten("the images lack attributes that the standard requires") from error


def _report(sources: Sequence[Any], segmentation: Any, volumes: Sequence[MeasuredVolume], title: str) -> Any:
    import highdicom

    sr = highdicom.sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID(), name=NAME, manufacturer_name=NAME, model_name=NAME
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=concept(_DEVICE), observer_identifying_attributes=device
        )
    )
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=concept(_MRI),
        imaging_measurements=[_group(volume, segmentation) for volume in volumes],
        title=concept(_TITLE),
    )
    return sr.Comprehensive3DSR(
        evidence=[*sources, *([] if segmentation is None else [segmentation])],
        content=content[0],
        series_number=_SERIES_NUMBER,
        series_instance_uid=highdicom.UID(),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=NAME,
        is_complete=True,
        is_verified=False,
        series_description=title[:64],
    )


def _group(volume: MeasuredVolume, segmentation: Any) -> Any:
    """Return the measurement group of a volume: of its segment, or of the whole series."""
    import highdicom

    sr, terms = highdicom.sr, volume.terminology
    common = {
        "tracking_identifier": sr.TrackingIdentifier(uid=highdicom.UID(), identifier=volume.name),
        "finding_type": concept(terms.type),
        "finding_category": concept(terms.category),
        "finding_sites": [sr.FindingSite(concept(terms.region))] if terms.region else None,
        "algorithm_id": sr.AlgorithmIdentification(name=NAME, version=__version__),
        "measurements": [
            sr.Measurement(concept(_VOLUME), round(volume.volume_ml, 3), concept(_MILLILITRE)),
        ],
    }
    if volume.segment is None or segmentation is None:
        return sr.MeasurementsAndQualitativeEvaluations(**common)
    reference = sr.ReferencedSegment.from_segmentation(segmentation, volume.segment)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **common)
