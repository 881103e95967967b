"""BraTS data sets by release; file names and the meaning of labels 3 and 4 differ between releases.

Tasks' values are 1 NCR, 2 ED, 3 ET. Up to 2021 ET is 4 in the files. From 2023 on it is 3; in 2024 (post-treatment)
4 is the resection cavity, which is part of no region and becomes background. The children of 2024 (BraTS-PED) count
again, 1 being ET and 4 oedema, and are no cases of ``brats2024``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from asa.data.cases import Dataset, LabelledCase, find_image, find_images
from asa.errors import InputError
from asa.files import walk

OLD_FILES = {"t1": "_t1", "t1gd": "_t1ce", "t2": "_t2", "flair": "_flair", "labels": "_seg"}
NEW_FILES = {"t1": "-t1n", "t1gd": "-t1c", "t2": "-t2w", "flair": "-t2f", "labels": "-seg"}
OLD_VALUES = {1: 1, 2: 2, 4: 3}
NEW_VALUES = {1: 1, 2: 2, 3: 3}
# Case 355 of 2020 was published with its mask under the name of an earlier collection.
MISNAMED_LABELS = "*_Segm.nii*"


@dataclass(frozen=True)
class Release:
    """One year's naming.

    Attributes:
        pattern: name of a case's folder; the group ``subject`` is what cases of one subject share.
        files: modality or "labels" -> what its file adds to the folder's name.
        values: value in the files -> value of the task.
    """

    pattern: str
    files: Mapping[str, str]
    values: Mapping[int, int]


RELEASES: dict[str, Release] = {
    "2018": Release(r"(?P<subject>Brats18_\w+)", OLD_FILES, OLD_VALUES),
    "2019": Release(r"(?P<subject>BraTS19_\w+)", OLD_FILES, OLD_VALUES),
    "2020": Release(r"(?P<subject>BraTS20_\w+)", OLD_FILES, OLD_VALUES),
    "2021": Release(r"(?P<subject>BraTS2021_\d{5})", OLD_FILES, OLD_VALUES),
    "2023": Release(r"(?P<subject>BraTS-[A-Z]+-\d+)-\d+", NEW_FILES, NEW_VALUES),
    "2024": Release(r"(?P<subject>BraTS-(?!PED)[A-Z]+-\d+)-\d+", NEW_FILES, {**NEW_VALUES, 4: 0}),
}


def case_folders(root: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """``root`` or the folders (or links) below it whose name matches, with the subject; not searched further."""
    if match := re.fullmatch(pattern, root.name):
        yield root, match["subject"]
        return
    for folder, below, _files in walk(root):
        for name in sorted(below):
            if match := re.fullmatch(pattern, name):
                below.remove(name)
                yield folder / name, match["subject"]


def find_brats(root: Path, year: str) -> list[LabelledCase]:
    """Return the cases of one release under ``root`` (HGG and LGG folders of early years included), by name.

    Raises:
        InputError: all cases there are named as other releases name them.
    """
    release, cases = RELEASES[year], []
    for folder, subject in case_folders(root, release.pattern):
        stems = {key: folder / (folder.name + suffix) for key, suffix in release.files.items()}
        labels = find_image(stems.pop("labels")) or next(iter(sorted(folder.glob(MISNAMED_LABELS))), None)
        cases.append(LabelledCase(folder.name, subject, find_images(stems), labels))
    if not cases and (others := [y for y, r in RELEASES.items() if any(case_folders(root, r.pattern))]):
        named = " or ".join(f"brats{other}" for other in others)
        raise InputError(f"{root} contains no case of BraTS {year}; its case names match {named}.")
    return sorted(cases, key=lambda case: case.name)


def brats(year: str) -> Dataset:
    """Return the data set of one release."""
    release = RELEASES[year]
    return Dataset(
        name=f"brats{year}",
        title=f"BraTS {year}",
        task="tumour",
        modalities=("t1", "t1gd", "t2", "flair"),
        values=release.values,
        find=lambda root: find_brats(root, year),
    )
