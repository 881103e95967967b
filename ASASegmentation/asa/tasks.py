"""Segmentation tasks: inputs, labels, regions, names, colours and terminology codes.

Data only. A new task is one more entry of `TASKS`; no code asks for a task by name.

Codes are SNOMED CT (scheme SCT) and, where the type is in it, those of 3D Slicer's "General Anatomy"
terminology, so that Slicer's terminology selector recognises the segments. The others come from the DICOM
context groups CID 7153 (central nervous system), CID 7159 (lesions) and CID 7140 (brain volumetry), which a
DICOM SEG export uses as they are. SNOMED CT has no morphology "enhancing lesion": there DICOM itself uses the
NCI Thesaurus, and so does this table.

Colours stay apart with the common colour-vision deficiencies and show on black and on white (both are tested).
The standard library is all this module needs.
"""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

_SLICER_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_DICOM_LIST = "Segmentation category and type - DICOM master list"
_REGION_LIST = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """One coded concept: coding scheme (SCT, NCIt, DCM), value and meaning, as in a DICOM code sequence."""

    scheme: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class Terminology:
    """What a segment is: category and type, and the anatomic region it lies in where the type does not say it.

    `context` names the terminology list of 3D Slicer that holds the type.
    """

    category: Code
    type: Code
    region: Code | None = None
    context: str = _SLICER_LIST

    @property
    def slicer_entry(self) -> str:
        """The value of a segment's `TerminologyEntry` tag in MRML and in .seg.nrrd files."""
        region = self.region if self.region is not None else "^^"
        return "~".join((self.context, str(self.category), str(self.type), "^^", _REGION_LIST, str(region), "^^"))


@dataclass(frozen=True)
class Modality:
    """One input image: `key` in requests and options, `bids` the end of its name in a BIDS folder."""

    key: str
    title: str
    bids: str
    required: bool


@dataclass(frozen=True)
class Label:
    """One value of the label map; labels never overlap. `colour` is red, green, blue in 0..255.

    `in_brain`: together these labels make up the brain. A task of lesions has none, because it does not see the rest.
    """

    value: int
    name: str
    title: str
    colour: Colour
    terminology: Terminology
    in_brain: bool = False


@dataclass(frozen=True)
class Region:
    """A union of labels that is measured and scored as one; regions may overlap."""

    name: str
    title: str
    values: tuple[int, ...]
    colour: Colour
    terminology: Terminology


@dataclass(frozen=True)
class Task:
    """A segmentation problem.

    `nested` says that the regions contain one another (whole tumour, core, enhancing part) and are usually shown
    instead of the labels; otherwise the labels are what a user sees and regions are sums. `reference` names modalities
    by how well they show what is segmented: the result is on the grid of the first that is given. `lesions` are the
    label values whose connected parts can be listed one by one.
    """

    name: str
    title: str
    modalities: tuple[Modality, ...]
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    reference: tuple[str, ...]
    nested: bool = False
    lesions: tuple[int, ...] = ()

    @property
    def label_values(self) -> dict[str, list[int]]:
        """Region name -> label values, the `label_values` of report.json."""
        return {region.name: list(region.values) for region in self.regions}


_SKY, _BLUE, _MAGENTA = (86, 180, 233), (80, 90, 200), (170, 51, 119)
_ORANGE, _VERMILLION = (230, 159, 0), (213, 94, 0)

_ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
_ALTERED = Code("SCT", "49755003", "Morphologically Altered Structure")
_BRAIN = Code("SCT", "12738006", "Brain")

_VENTRICLES = Terminology(_ANATOMY, Code("SCT", "35764002", "Brain ventricle"))
_GREY_MATTER = Terminology(_ANATOMY, Code("SCT", "389081007", "Gray Matter"))
_WHITE_MATTER = Terminology(_ANATOMY, Code("SCT", "389080008", "White Matter"))
_SUBARACHNOID = Terminology(_ANATOMY, Code("SCT", "35951006", "Subarachnoid space"))
_CSF_SPACE = Terminology(_ANATOMY, Code("SCT", "280371009", "Brain cerebrospinal fluid pathway"))
BRAIN = Terminology(_ANATOMY, _BRAIN)
_NECROSIS = Terminology(_ALTERED, Code("SCT", "6574001", "Necrosis"), _BRAIN)
_OEDEMA = Terminology(_ALTERED, Code("SCT", "79654002", "Edema"), _BRAIN)
_ENHANCING = Terminology(_ALTERED, Code("NCIt", "C113842", "Enhancing Lesion"), _BRAIN, _DICOM_LIST)
_MASS = Terminology(_ALTERED, Code("SCT", "4147007", "Mass"), _BRAIN)
_NEOPLASM = Terminology(_ALTERED, Code("SCT", "108369006", "Neoplasm"), _BRAIN, _DICOM_LIST)
_WHITE_MATTER_LESION = Terminology(
    _ALTERED, Code("SCT", "52988006", "Lesion"), Code("SCT", "68523003", "Cerebral White Matter"), _DICOM_LIST
)

_MODALITIES = {
    "t1": ("T1", "T1w"),
    "t1gd": ("T1 with contrast agent", "ce-gadolinium_T1w"),
    "t2": ("T2", "T2w"),
    "flair": ("FLAIR", "FLAIR"),
}

TITLES = {key: title for key, (title, _) in _MODALITIES.items()}


def _inputs(required: tuple[str, ...], optional: tuple[str, ...] = ()) -> tuple[Modality, ...]:
    """Return the modalities of a task in the order of `_MODALITIES`, which is also the order of input channels."""
    return tuple(
        Modality(key, title, bids, key in required)
        for key, (title, bids) in _MODALITIES.items()
        if key in required or key in optional
    )


TISSUE = Task(
    name="tissue",
    title="Brain tissue (CSF, grey matter, white matter)",
    modalities=_inputs(required=("t1",), optional=("t1gd", "t2", "flair")),
    labels=(
        Label(1, "ventricles", "Ventricular CSF", _SKY, _VENTRICLES, in_brain=True),
        Label(2, "GM", "Grey matter", _ORANGE, _GREY_MATTER, in_brain=True),
        Label(3, "WM", "White matter", _MAGENTA, _WHITE_MATTER, in_brain=True),
        Label(4, "sulcal CSF", "Sulcal CSF", _BLUE, _SUBARACHNOID),
    ),
    regions=(
        Region("CSF", "Cerebrospinal fluid", (1, 4), _BLUE, _CSF_SPACE),
        Region("ventricles", "Ventricular CSF", (1,), _SKY, _VENTRICLES),
        Region("GM", "Grey matter", (2,), _ORANGE, _GREY_MATTER),
        Region("WM", "White matter", (3,), _MAGENTA, _WHITE_MATTER),
    ),
    reference=("t1", "t1gd", "t2", "flair"),
)

TUMOUR = Task(
    name="tumour",
    title="Brain tumour (whole tumour, core, enhancing tumour)",
    modalities=_inputs(required=("t1", "t1gd", "t2", "flair")),
    labels=(
        Label(1, "NCR", "Necrotic core", _BLUE, _NECROSIS),
        Label(2, "ED", "Oedema", _SKY, _OEDEMA),
        Label(3, "ET", "Enhancing tumour", _VERMILLION, _ENHANCING),
    ),
    regions=(
        Region("WT", "Whole tumour", (1, 2, 3), _SKY, _MASS),
        Region("TC", "Tumour core", (1, 3), _BLUE, _NEOPLASM),
        Region("ET", "Enhancing tumour", (3,), _VERMILLION, _ENHANCING),
    ),
    reference=("t1gd", "flair", "t1", "t2"),
    nested=True,
)

WMH = Task(
    name="wmh",
    title="White-matter lesions (hyperintensities)",
    modalities=_inputs(required=("flair",), optional=("t1",)),
    labels=(Label(1, "WMH", "White-matter lesions", _ORANGE, _WHITE_MATTER_LESION),),
    regions=(Region("WMH", "White-matter lesions", (1,), _ORANGE, _WHITE_MATTER_LESION),),
    reference=("flair", "t1"),
    lesions=(1,),
)

TASKS: dict[str, Task] = {task.name: task for task in (TISSUE, TUMOUR, WMH)}
