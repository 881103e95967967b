"""Cases of BIDS trees: the images of one session are one case, whatever other entities their names have.

Of several images of one modality in a session the first by these rules is taken:

1. magnitude: phase, real and imaginary images (``part-``) are never taken
2. whole images before parts of a volume (``chunk-``)
3. the scanner's own grid before images that were resampled to another (``space-``)
4. the highest resolution: the smallest longest side of a voxel, then the smallest volume, to a tenth of a millimetre
5. the last run (``run-``)
6. the first echo (``echo-``)
7. the first by name
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asa.errors import InputError
from asa.image_names import image_stem, is_image_name
from asa.tasks import Modality

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+$")
_NAME = re.compile(r"sub-[A-Za-z0-9]+(_[A-Za-z]+-[A-Za-z0-9]+)*_[A-Za-z0-9]+$")
_PLACES = ("*", "anat/*", "ses-*/anat/*", "sub-*/anat/*", "sub-*/ses-*/anat/*")
_PARTS = ("phase", "real", "imag")
# Names of acquisitions before and after a contrast agent, where the entity `ce-` was forgotten.
_BEFORE = re.compile(r"(pre|no|non|none|without)(ce|gd|gad|gadolinium|contrast|enhanced)?$")
_AFTER = re.compile(r"(ce|t1c|t1ce)$|.*(post|gd|gad|gadolinium|contrast|enhanced|postce)$")


@dataclass(frozen=True)
class Case:
    """One head.

    Attributes:
        name: of its result folder; in a tree subject and session, as in the names of its images.
        images: modality key -> image.
        notes: clauses for the user: of several images of one modality which was taken, and why; the DICOM series.
        series: modality key -> what the image is called where its file name may identify a patient: a DICOM series.
        problem: the sentence that says why the images cannot be used, "" if they can.
    """

    name: str
    images: dict[str, Path]
    notes: tuple[str, ...] = ()
    series: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def usable_images(self) -> dict[str, Path]:
        """Return the images.

        Raises:
            InputError: they cannot be used.
        """
        if self.problem:
            raise InputError(self.problem)
        return self.images


@dataclass(frozen=True)
class _Image:
    path: Path
    suffix: str
    entities: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(path: Path) -> _Image:
        *parts, suffix = image_stem(path).split("_")
        return _Image(path, suffix, {key: value for key, dash, value in (p.partition("-") for p in parts) if dash})

    @property
    def session(self) -> str:
        given = [f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities]
        return "_".join(given) or image_stem(self.path).rpartition("_")[0]

    @property
    def enhanced(self) -> bool:
        """Whether it was taken after a contrast agent, whatever the agent is called."""
        if "ce" in self.entities:
            return not _BEFORE.match(self.entities["ce"].lower())
        label = self.entities.get("acq", "").lower()
        return bool(_AFTER.match(label)) and not _BEFORE.search(label)

    def number(self, key: str) -> int:
        """The index of a run or an echo; 0 where there is none."""
        digits = re.sub(r"\D", "", self.entities.get(key, ""))
        return int(digits) if digits else 0

    def resolution(self) -> tuple[float, float]:
        """Longest side (mm) and volume (mm³) of a voxel, to a tenth; infinite where the header cannot be read."""
        from asa.volume.header import read_grid  # only where there is a choice: it takes a second to import

        try:
            spacing = read_grid(self.path).spacing
        except InputError:
            return math.inf, math.inf
        return round(max(spacing), 1), round(math.prod(spacing), 1)


# What decides, in words and as what is smallest for the image to take.
_RULES: tuple[tuple[str, Callable[[_Image], object]], ...] = (
    ("the whole volume", lambda image: "chunk" in image.entities),
    ("not resampled", lambda image: "space" in image.entities),
    ("the highest resolution", _Image.resolution),
    ("the last run", lambda image: -image.number("run")),
    ("the first echo", lambda image: image.number("echo")),
    ("the first by name", lambda image: image.path.name),
)


def is_tree(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS tree."""
    names = (child.name for child in folder.iterdir() if child.is_dir())
    return (folder / "dataset_description.json").exists() or any(_SUBJECT.match(name) for name in names)


def is_named(path: Path) -> bool:
    """Whether a file is called as BIDS calls an image of a subject."""
    return is_image(path) and bool(_NAME.match(image_stem(path)))


def is_image(path: Path) -> bool:
    """Whether there is an image. A link to nothing (a data set not fetched) counts: its head fails, and is not lost."""
    there = path.is_file() or (path.is_symlink() and not path.exists())
    return there and is_image_name(path)


def find_sessions(folder: Path, modalities: Sequence[Modality]) -> list[Case]:
    """Return the sessions in a BIDS tree, or in the folder of one subject or session, that have what is required.

    Args:
        folder: the tree, or a part of it.
        modalities: those that the model sees.

    Returns:
        The sessions, by place and name.
    """
    sessions: dict[tuple[Path, str], dict[str, list[_Image]]] = {}
    for path in sorted(_candidates(folder)):
        image = _Image.of(path)
        for modality in modalities:
            if _shows(image, modality):
                of_session = sessions.setdefault((path.parent, image.session), {})
                of_session.setdefault(modality.key, []).append(image)
    return [
        _session(name, images, modalities)
        for (_, name), images in sorted(sessions.items())
        if all(modality.key in images for modality in modalities if modality.required)
    ]


def omitted_subjects(folder: Path, used: Iterable[Path]) -> list[str]:
    """Return the subjects, or their sessions, of a BIDS tree of which no image is used; of other folders, the sessions.

    Args:
        folder: the tree, or a part of it.
        used: the images of all cases.
    """
    images = [*used]
    if is_tree(folder):
        parents = {parent for image in images for parent in image.parents}
        missing: list[str] = []
        for subject in (path for path in sorted(folder.glob("sub-*")) if path.is_dir()):
            parts = [path for path in sorted(subject.glob("ses-*")) if path.is_dir()] or [subject]
            missing += [str(part.relative_to(folder)) for part in parts if part not in parents]
        return missing
    found = {(path.parent, _Image.of(path).session) for path in _candidates(folder)}
    return sorted(name for _, name in found - {(path.parent, _Image.of(path).session) for path in images})


def _candidates(folder: Path) -> Iterator[Path]:
    for place in _PLACES:
        yield from (path for path in folder.glob(place) if (is_named(path) if place == "*" else is_image(path)))


def _shows(image: _Image, modality: Modality) -> bool:
    """Whether an image is of a modality; a contrast-enhanced T1w is not a T1w."""
    enhanced, suffix = modality.bids.startswith("ce-"), modality.bids.rpartition("_")[2]
    return (
        image.suffix == suffix and image.enhanced == enhanced and image.entities.get("part", "").lower() not in _PARTS
    )


def _session(name: str, images: dict[str, list[_Image]], modalities: Sequence[Modality]) -> Case:
    chosen, notes = {}, []
    for modality in modalities:
        of_modality = images.get(modality.key, [])
        if not of_modality:
            continue
        taken, reason = _choose(of_modality)
        chosen[modality.key] = taken.path
        if reason:
            notes.append(f"of {len(of_modality)} {modality.title} images {taken.path.name} is taken ({reason})")
    return Case(name, chosen, tuple(notes))


def _choose(images: Sequence[_Image]) -> tuple[_Image, str]:
    """Return the image to take and the last rule that decided, "" where there was no choice."""
    rest, reason = [*images], ""
    for words, rank in _RULES:
        if len(rest) == 1:
            break
        ranks = [rank(image) for image in rest]
        best = min(ranks)  # type: ignore[type-var]
        if any(one != best for one in ranks):
            rest, reason = [image for image, one in zip(rest, ranks, strict=True) if one == best], words
    return rest[0], reason
