"""collect_cases.py DATA MORE OUT: the development data as ``asa prepare`` reads it.

DATA is the folder of development heads ($ASA_DATA), MORE holds what its ``more/extract.py`` wrote. Writes
``OUT/tumour/cases.csv`` and ``OUT/wmh/cases.csv``; label maps take the values of the tasks, and whole heads with slices
of 6 to 8 mm are stripped, with the brain masks that come with them or by the shipped tissue model. Images that need no
change are not copied.

``OUT/scans`` is a tree of stripped T1s to pre-train on: scans without labels and, once ``draw_splits.py`` has run,
those of the patients who train.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from asa.geometry import align_to_frame, from_frame, to_frame
from asa.inference.stripping import TissueModel
from asa.volume import read_volume

# two scans of one person each, as the sources say
SAME_PERSON = {"BraTS-SSA-00081-000": "BraTS-SSA-00076-000", "BraTS-SSA-00121-000": "BraTS-SSA-00115-000"}
SPLITS = Path(__file__).parents[3] / "Resources" / "Configs" / "splits"
THICK_MM = 3.0
COLUMNS = ("case", "subject", "t1", "t1gd", "t2", "flair", "labels")


def tumour_cases(data: Path, more: Path, out: Path) -> Iterator[dict[str, str]]:
    """Gliomas: enhancing tumour, 4 in the files, becomes 3."""
    for folder in sorted(
        [*(data / "brats").iterdir(), *(data / "brats_more").iterdir(), *(more / "gliomas").iterdir()]
    ):
        name = folder.name
        image = nib.load(folder / f"{name}_seg.nii.gz")
        labels = np.asanyarray(image.dataobj).astype(np.uint8)
        labels[labels == 4] = 3
        path = out / "tumour" / f"{name}_labels.nii.gz"
        nib.save(nib.Nifti1Image(labels, image.affine), path)
        files = {"t1": "t1", "t1gd": "t1ce", "t2": "t2", "flair": "flair"}
        images = {key: str(folder / f"{name}_{suffix}.nii.gz") for key, suffix in files.items()}
        yield {"case": name, "subject": SAME_PERSON.get(name, name), **images, "labels": str(path)}


def lesion_cases(data: Path, more: Path, out: Path) -> Iterator[dict[str, str]]:
    """Patients with lesions of white matter; T1 where there is one."""
    mslesseg = data / "ms_more" / "mslesseg"
    folders = [(f, f.name, f.name) for f in (*(data / "ms").glob("patient*"), *(more / "lesions").iterdir())]
    folders += [(v, f"{v.parent.name}_{v.name}", v.parent.name) for v in mslesseg.glob("P*/T*")]
    folders += [(f, f.name, f.name) for kind in ("ms3seg", "simvent") for f in (data / "ms_more" / kind).iterdir()]
    for folder, name, subject in sorted(folders, key=lambda one: one[1]):
        images = {key: folder / f"{name}_{key}.nii.gz" for key in ("t1", "flair")}
        images = {key: path for key, path in images.items() if path.is_file()}
        if folder.parent.name == "ms3seg":
            brain = np.asanyarray(nib.load(folder / f"{name}_brainmask.nii.gz").dataobj) > 0
            images = {key: stripped(path, brain, out / "wmh") for key, path in images.items()}
        elif folder.parent.name == "simvent":
            images = {key: stripped(path, found_brain(path), out / "wmh") for key, path in images.items()}
        labels = folder / f"{name}_lesions.nii.gz"
        yield {"case": name, "subject": subject, **{k: str(p) for k, p in images.items()}, "labels": str(labels)}


def found_brain(path: Path) -> npt.NDArray[np.bool_]:
    """Brain of a whole head as the shipped tissue model sees it, in the order of the file."""
    scan = read_volume(path)
    alignment = align_to_frame(scan)
    brain = TissueModel()(path, to_frame(scan, alignment), alignment)
    found = from_frame(brain.astype(np.float32), alignment, scan.grid)
    return scan.storage.to_stored(found.array) > 0.5


def stripped(path: Path, brain: npt.NDArray[np.bool_], folder: Path) -> Path:
    """A copy of an image, 0 outside the brain."""
    image = nib.load(path)
    array = np.asanyarray(image.dataobj) * brain
    nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), folder / path.name)
    return folder / path.name


def collect_scans(data: Path, out: Path) -> Iterator[Path]:
    """T1s without labels, and of patients who train those with slices thin enough to show a cortex."""
    for folder in sorted((data / "t1").glob("sub-*")):
        yield place(out, folder.name, next(folder.glob("anat/*_T1w.nii.gz")))
    for folder in sorted((data / "heads").glob("sub-*")):
        path = next(folder.glob("anat/*_T1w.nii.gz"))
        yield place(out, f"sub-head{folder.name[4:]}", stripped(path, found_brain(path), out / "wmh"))
    for task in ("tumour", "wmh"):
        train = json.loads((SPLITS / f"{task}.json").read_text(encoding="utf-8"))["folds"][0]["train"]
        with (out / task / "cases.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row["case"] in train and row["t1"] and max(nib.load(row["t1"]).header.get_zooms()[:3]) < THICK_MM:
                    yield place(out, "sub-" + re.sub("[^A-Za-z0-9]", "", row["case"]), Path(row["t1"]))


def link_label_maps(data: Path, out: Path) -> None:
    """The label maps of each part of the split in a folder of their own."""
    for part, names in json.loads((SPLITS / "tissue.json").read_text(encoding="utf-8"))["folds"][0].items():
        folder = out / "label_maps" / part
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            link = folder / f"{name}.nii.gz"
            link.unlink(missing_ok=True)
            link.symlink_to(data / "label_maps" / f"{name}.nii.gz")


def place(out: Path, subject: str, path: Path) -> Path:
    """A link to a scan under its BIDS name."""
    link = out / "scans" / subject / "anat" / f"{subject}_T1w.nii.gz"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def main() -> None:
    """See the top of the file."""
    data, more, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    for task, find in (("tumour", tumour_cases), ("wmh", lesion_cases)):
        (out / task).mkdir(parents=True, exist_ok=True)
        with (out / task / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            rows = list(find(data, more, out))
            writer.writerows(rows)
        print(f"{task}: {len(rows)} cases")
    if (SPLITS / "tumour.json").is_file():
        link_label_maps(data, out)
        print(f"{len(list(collect_scans(data, out)))} scans")


if __name__ == "__main__":
    main()
