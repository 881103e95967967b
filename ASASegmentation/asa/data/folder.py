"""Custom cases: a folder of cases, or a CSV file that lists their files.

cases/anna/{t1,t1gd,t2,flair,labels}.nii.gz        a folder a case, its files named by modality key

case,subject,t1,flair,labels                       CSV: paths relative to it; the column subject is optional
anna-1,anna,scans/a1.nii.gz,scans/a1f.nii.gz,manual/a1.nii.gz
"""

from __future__ import annotations

import csv
from pathlib import Path

from asa.data.cases import LabelledCase, find_image, find_images, raise_problems
from asa.errors import InputError
from asa.tasks import TASKS

KEYS = tuple(dict.fromkeys(modality.key for task in TASKS.values() for modality in task.modalities))


def find_folder(root: Path) -> list[LabelledCase]:
    """Return the cases of a folder or, if ``root`` is a file, of a CSV.

    Raises:
        InputError: the CSV cannot be read, or lists files that do not exist (all of them are named).
    """
    if root.is_file():
        return read_table(root)
    cases = []
    for folder in sorted(f for f in root.iterdir() if f.is_dir()):
        images, labels = find_images({key: folder / key for key in KEYS}), find_image(folder / "labels")
        if images or labels:
            cases.append(LabelledCase(folder.name, folder.name, images, labels))
    return cases


def read_table(path: Path) -> list[LabelledCase]:
    """Return the cases of a CSV; an empty cell is a file that this case does not have."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error
    known = ("case", "subject", *KEYS, "labels")
    if "case" not in columns or (unknown := [c for c in columns if c not in known]):
        what = "lacks the column 'case'" if "case" not in columns else f"has unknown columns {', '.join(unknown)}"
        raise InputError(f"{path} {what}; columns are {', '.join(known)}")
    cases, problems = [], []
    for number, row in enumerate(rows, start=2):
        name = (row["case"] or "").strip()
        files = {key: path.parent / row[key].strip() for key in (*KEYS, "labels") if (row.get(key) or "").strip()}
        problems += [f"line {number}: {file} does not exist" for file in files.values() if not file.is_file()]
        if not name:
            problems.append(f"line {number}: no case name")
        elif name in (".", "..") or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name):
            problems.append(f"line {number}: case name '{name}' is not a valid file name")
        labels = files.pop("labels", None)
        cases.append(LabelledCase(name, (row.get("subject") or "").strip() or name, files, labels))
    raise_problems(problems, str(path))
    return cases
