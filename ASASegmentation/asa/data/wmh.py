"""WMH challenge, MICCAI 2017: sites/cases with bias-corrected images in the space of FLAIR."""

from __future__ import annotations

from pathlib import Path

from asa.data.cases import Dataset, LabelledCase, find_image, find_images
from asa.files import walk

PARTS = ("training", "test")  # of the challenge; not part of a case's name


def find_wmh(root: Path) -> list[LabelledCase]:
    """``[training/]Utrecht/0/{pre/T1,pre/FLAIR,wmh}`` and likewise deeper; case numbers repeat between sites."""
    cases = []
    for folder in sorted(folder for folder, below, _files in walk(root) if "pre" in below):
        pre = folder / "pre"
        name = "-".join(part for part in folder.relative_to(root).parts if part not in PARTS) or folder.name
        images = find_images({"t1": pre / "T1", "flair": pre / "FLAIR"})
        cases.append(LabelledCase(name, name, images, find_image(folder / "wmh")))
    return cases


def wmh2017() -> Dataset:
    """1 is a lesion of white matter; 2, other pathology, is removed from predictions before they are scored."""
    return Dataset(
        name="wmh2017",
        title="WMH 2017",
        task="wmh",
        modalities=("t1", "flair"),
        values={1: 1},
        find=find_wmh,
        ignored=(2,),
        header_mm=0.25,  # T1 and labels of case 63 have the same voxels and origins 0.196 mm apart
    )
