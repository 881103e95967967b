"""Headers of DICOM files: what a file shows, where its frames lie, and whose it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asa.errors import DependencyError
from asa.modalities.matching import TAGS
from asa.silence import quiet_dicom

# What identifies a patient. Compared, and never part of a message or of a result.
IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_KEYWORDS = (
    *IDENTITY,
    *TAGS,
    *_PLACE,
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "TemporalPositionIdentifier",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "ContrastBolusAgentSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_MAGIC, _MAGIC_AT = b"DICM", 128
# Its whole content, of unknown size, would have to be unpacked to read the first attribute.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"}
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture, and its multi-frame kinds
_INSTALL = "pip install pydicom"
_SHORTEST = 3  # characters of a name or number that are looked for in a description
_REMOVED = "[removed]"

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    """One image plane.

    Attributes:
        file: the file that holds it.
        number: index of the frame in the file, from 0.
        position: of the centre of its first pixel, LPS mm, 3 numbers.
        orientation: direction cosines of its rows and of its columns, 6 numbers.
        spacing: distance between rows and between columns, mm.
        size: number of rows and columns.
        rescale: slope and intercept of its values.
        kind: what tells apart images that a series holds at one position: echo time, image type, time.
    """

    file: Path
    number: int
    position: Vector
    orientation: Vector
    spacing: tuple[float, float]
    size: tuple[int, int]
    rescale: tuple[float, float]
    kind: tuple[str, ...]


@dataclass(frozen=True)
class Instance:
    """One DICOM file.

    Attributes:
        path: the file.
        uid: SOP instance UID.
        series: series instance UID.
        study: study instance UID.
        number: series number, as it is written.
        tags: keyword (of :data:`asa.modalities.matching.TAGS`) -> value.
        identity: keyword -> value of what identifies the patient, in lower case.
        frames: its image planes; none if it is not an MR image that is placed in space.
        problem: why it has none, as a clause, "" otherwise.
    """

    path: Path
    uid: str = ""
    series: str = ""
    study: str = ""
    number: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    problem: str = ""

    @property
    def description(self) -> str:
        """The series description without what identifies the patient."""
        return without_identity(self.tags.get("SeriesDescription", ""), self.identity)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its first bytes; names say nothing."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def require_pydicom() -> None:
    """Check that DICOM can be read.

    Raises:
        DependencyError: pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise DependencyError(f"Reading DICOM needs the package pydicom; install it with: {_INSTALL}") from None


def read_instance(path: Path) -> Instance:
    """Read the header of a DICOM file. A damaged one yields an instance with a ``problem``."""
    import pydicom

    with quiet_dicom():
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            if str(meta.get("TransferSyntaxUID", "")) in _DEFLATED:
                return Instance(path, problem="is deflated, which is not supported")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
            return _instance(path, dataset)
        except Exception:  # what pydicom trips over in a damaged header can be anything
            return Instance(path, problem="is damaged or truncated")


def without_identity(text: str, identity: Mapping[str, str]) -> str:
    """Return a text without the names, numbers and dates that identify a patient."""
    words = {word for key, value in identity.items() if key != "PatientSex" for word in re.split(r"[\^=\s]+", value)}
    for word in sorted((word for word in words if len(word) >= _SHORTEST), key=len, reverse=True):
        text = re.sub(re.escape(word), _REMOVED, text, flags=re.IGNORECASE)
    return text


def digest(text: str) -> str:
    """Return eight characters that stand for an identifier."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _instance(path: Path, dataset: Any) -> Instance:
    enhanced = "PerFrameFunctionalGroupsSequence" in dataset
    frames, problem = _frames(path, dataset, enhanced)
    tags = {key: _text(dataset, key) for key in TAGS if _text(dataset, key)}
    return Instance(
        path=path,
        uid=_text(dataset, "SOPInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        study=_text(dataset, "StudyInstanceUID"),
        number=_text(dataset, "SeriesNumber"),
        tags=_enhanced_tags(dataset, tags) if enhanced and frames else tags,
        identity={key: text.lower() for key in IDENTITY if (text := _text(dataset, key))},
        frames=frames,
        problem=problem,
    )


def _frames(path: Path, dataset: Any, enhanced: bool) -> tuple[tuple[Frame, ...], str]:
    """Return the image planes, or why there are none."""
    if _text(dataset, "SOPClassUID").startswith(_CAPTURES):
        return (), "is a secondary capture (a screenshot or a scanned page)"
    if not (modality := _text(dataset, "Modality")):
        return (), "is damaged or truncated"
    if modality != "MR":
        return (), f"is of the modality {modality[:16]!r}, not MR" if modality.isalnum() else "is not an MR image"
    if "Rows" not in dataset or "Columns" not in dataset:
        return (), "has no image"
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or _text(dataset, "PhotometricInterpretation") != "MONOCHROME2":
        return (), "is not a grey-level image"
    count = int(dataset.get("NumberOfFrames") or 1)
    if enhanced:
        groups = dataset.PerFrameFunctionalGroupsSequence
        if len(groups) != count:
            return (), f"describes {len(groups)} of its {count} frames"
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        return tuple(_enhanced_frame(path, dataset, shared, one, number) for number, one in enumerate(groups)), ""
    if any(not dataset.get(key) for key in _PLACE):
        return (), "is not placed in space: it has no position, orientation or pixel spacing"
    if count != 1:
        return (), f"has {count} frames without a position of each"
    kind = tuple(_text(dataset, key) for key in ("EchoTime", "TemporalPositionIdentifier"))
    kind += (_type(dataset.get("ImageType")),)
    return (_frame(path, 0, dataset, dataset, dataset, dataset, dataset, kind),), ""


def _enhanced_frame(path: Path, dataset: Any, shared: Any, one: Any, number: int) -> Frame:
    def group(name: str) -> Any:
        return (one.get(name) or shared.get(name) or [{}])[0]

    content = group("FrameContentSequence")
    kind = (
        str(group("MREchoSequence").get("EffectiveEchoTime", "")),
        str(content.get("TemporalPositionIndex", "")),
        _type(group("MRImageFrameTypeSequence").get("FrameType")),
    )
    place, turn = group("PlanePositionSequence"), group("PlaneOrientationSequence")
    values, pixels = group("PixelValueTransformationSequence"), group("PixelMeasuresSequence")
    return _frame(path, number, dataset, place, turn, pixels, values, kind)


def _frame(
    path: Path, number: int, image: Any, place: Any, turn: Any, pixels: Any, values: Any, kind: tuple[str, ...]
) -> Frame:
    """Return a frame from the parts of a header that say its size, place, orientation, spacing and scale."""
    between_rows, between_columns = (float(one) for one in pixels.get("PixelSpacing"))
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    return Frame(
        file=path,
        number=number,
        position=_numbers(place.get("ImagePositionPatient"), 3),
        orientation=_numbers(turn.get("ImageOrientationPatient"), 6),
        spacing=(between_rows, between_columns),
        size=(int(image.Rows), int(image.Columns)),
        rescale=(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        kind=kind,
    )


def _enhanced_tags(dataset: Any, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that an enhanced file has in its functional groups, by the keywords of classic files."""
    sources = {
        "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
        "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "InversionTime": ("MRModifierSequence", "InversionTimes"),
    }
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    first = dataset.PerFrameFunctionalGroupsSequence[0]
    found = dict(tags)
    for keyword, (sequence, attribute) in sources.items():
        value = (first.get(sequence) or shared.get(sequence) or [{}])[0].get(attribute)
        if value not in (None, ""):
            found[keyword] = str(value[0] if isinstance(value, list | tuple) or hasattr(value, "append") else value)
    if dataset.get("ContrastBolusAgentSequence"):
        found["ContrastBolusAgent"] = "yes"
    return found


def _numbers(value: Any, count: int) -> Vector:
    numbers = tuple(float(one) for one in value)
    if len(numbers) != count:
        raise ValueError(f"{count} numbers are needed.")
    return numbers


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _type(value: Any) -> str:
    """The image type without its first two values, which distinguish no images of one series."""
    return "\\".join(str(one) for one in list(value or [])[2:])
