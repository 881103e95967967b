"""Tasks are data that several programs rely on: values, codes and colours are checked as such."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asa.tasks import TASKS, TISSUE, TUMOUR, Label, Region, Task

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())

# Machado, Oliveira and Fernandes (2009), severity 1.0, applied to linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


def linear(colour: tuple[int, int, int]) -> np.ndarray:
    c = np.asarray(colour) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white point D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_published_label_values():
    assert TISSUE.label_values == {"CSF": [1, 4], "ventricles": [1], "GM": [2], "WM": [3]}
    assert TUMOUR.label_values == {"WT": [1, 2, 3], "TC": [1, 3], "ET": [3]}


@every_task
def test_regions_are_made_of_labels(task: Task):
    values = [label.value for label in task.labels]
    assert values == sorted(set(values)) and min(values) >= 1 and max(values) <= 255
    for region in task.regions:
        assert set(region.values) <= set(values)
    for group in (task.labels, task.regions):
        assert len({item.name for item in group}) == len(group)
    nested = all(set(b.values) < set(a.values) for a, b in itertools.pairwise(task.regions))
    assert nested or not task.nested


@every_task
def test_modalities(task: Task):
    assert any(modality.required for modality in task.modalities)
    keys = [modality.key for modality in task.modalities]
    assert len(set(keys)) == len(keys) and set(keys) <= {"t1", "t1gd", "t2", "flair"}


@every_task
def test_terminology_entries_have_slicers_seven_fields(task: Task):
    for item in (*task.labels, *task.regions):
        fields = item.terminology.slicer_entry.split("~")
        assert len(fields) == 7
        assert all(len(fields[i].split("^")) == 3 for i in (1, 2, 3, 5, 6))
        assert fields[1].startswith("SCT^")


@every_task
def test_snomed_identifiers_pass_their_check_digit(task: Task):
    """The last digit of a SNOMED CT identifier is a Verhoeff check digit: a mistyped code fails."""
    for item in (*task.labels, *task.regions):
        terminology = item.terminology
        for code in filter(None, (terminology.category, terminology.type, terminology.region)):
            if code.scheme == "SCT":
                assert verhoeff(code.value) == 0, code


def verhoeff(digits: str) -> int:
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]

    def multiply(a: int, b: int) -> int:  # in the dihedral group D5
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for position, digit in enumerate(int(d) for d in reversed(digits)):
        for _ in range(position % 8):
            digit = permutation[digit]
        check = multiply(check, digit)
    return check


@every_task
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_stay_apart(task: Task, deficiency: str):
    matrix = np.array(DEFICIENCIES[deficiency])
    for group in (task.labels, task.regions):
        seen = [lab(matrix @ linear(item.colour)) for item in group]
        for a, b in itertools.combinations(seen, 2):
            assert np.linalg.norm(a - b) > 25, (group, deficiency)


@every_task
@pytest.mark.parametrize("background", [(255, 255, 255), (32, 32, 32)], ids=["light", "dark"])
def test_colours_are_visible_in_light_and_dark(task: Task, background: tuple[int, int, int]):
    item: Label | Region
    for item in (*task.labels, *task.regions):
        a, b = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(c)) for c in (item.colour, background))
        assert (b + 0.05) / (a + 0.05) > 2.0, item.name


def test_import_needs_the_standard_library_only():
    code = "import asa.tasks, sys; sys.exit(any(m in sys.modules for m in ('numpy', 'torch', 'nibabel')))"
    engine = Path(__file__).parents[2] / "ASASegmentation"
    assert subprocess.run([sys.executable, "-c", code], cwd=engine, check=False).returncode == 0
