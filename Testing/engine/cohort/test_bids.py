"""Cases of BIDS trees: one session is one case, and the choice among its images follows written rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from asa.cohort.batch import find_cases, omitted_subjects
from asa.cohort.bids import find_sessions
from asa.tasks import TISSUE, TUMOUR, WMH, Modality

OPTIONAL = [replace(modality, required=False) for modality in TUMOUR.modalities]


def make_image(path: Path, spacing: Sequence[float] = (6, 6, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.diag([*spacing, 1.0])), path)
    return path


def tree(root: Path, *names: str) -> Path:
    """A tree with images of these names, which cannot be read."""
    (root / "dataset_description.json").write_text("{}")
    for name in names:
        folders = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
        path = root.joinpath(*folders, "anat", f"{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
    return root


def taken(root: Path, modalities: Sequence[Modality] = OPTIONAL) -> dict[str, dict[str, str]]:
    """Case -> modality -> name of the image, without what all have."""
    cases = find_cases([root], modalities)
    return {
        case.name: {
            key: path.name.removesuffix(".nii.gz").removeprefix(f"{case.name}_") for key, path in case.images.items()
        }
        for case in cases
    }


def bids(root: Path) -> Path:
    for name in (
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_run-1_T1w.nii",
        "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz",
        "sub-02/ses-2/func/sub-02_ses-2_task-rest_bold.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    ):
        make_image(root / name)
    return root


def test_bids_cases(tmp_path: Path) -> None:
    cases = find_cases([bids(tmp_path)], TISSUE.modalities[:1])
    assert [case.name for case in cases] == ["sub-01", "sub-02_ses-1", "sub-02_ses-2"]
    assert cases[0].images["t1"].name == "sub-01_T1w.nii.gz"
    tumour = find_cases([tmp_path], TUMOUR.modalities)[0]
    assert {key: path.name for key, path in tumour.images.items()} == {
        "t1": "sub-01_T1w.nii.gz",
        "t1gd": "sub-01_ce-gadolinium_T1w.nii.gz",
        "t2": "sub-01_T2w.nii.gz",
        "flair": "sub-01_FLAIR.nii.gz",
    }


def test_bids_cases_of_a_model_that_can_do_without(tmp_path: Path) -> None:
    make_image(bids(tmp_path) / "sub-03/anat/sub-03_FLAIR.nii.gz")
    cases = find_cases([tmp_path], WMH.modalities)
    assert [(case.name, sorted(case.images)) for case in cases] == [("sub-01", ["flair", "t1"]), ("sub-03", ["flair"])]
    optional = [replace(modality, required=False) for modality in TUMOUR.modalities]
    anything = {case.name: sorted(case.images) for case in find_cases([tmp_path], optional)}
    assert anything["sub-01"] == ["flair", "t1", "t1gd", "t2"] and anything["sub-02_ses-2"] == ["t1"]
    lone = find_cases([tmp_path / "sub-03/anat/sub-03_FLAIR.nii.gz"], WMH.modalities)
    assert list(lone[0].images) == ["flair"], "an image by itself is of the modality the model needs"


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (
            ("acq-pre_T1w", "acq-post_ce-gd_T1w", "acq-x_T2w", "acq-y_FLAIR"),
            {"t1": "acq-pre_T1w", "t1gd": "acq-post_ce-gd_T1w", "t2": "acq-x_T2w", "flair": "acq-y_FLAIR"},
        ),
        (
            ("acq-pre_T1w", "acq-post_T1w", "acq-x_T2w", "acq-y_FLAIR"),
            {"t1": "acq-pre_T1w", "t1gd": "acq-post_T1w", "t2": "acq-x_T2w", "flair": "acq-y_FLAIR"},
        ),
        (("run-1_T1w", "run-1_T2w", "run-2_FLAIR"), {"t1": "run-1_T1w", "t2": "run-1_T2w", "flair": "run-2_FLAIR"}),
        (("T1w", "rec-norm_T2w", "space-T1w_FLAIR"), {"t1": "T1w", "t2": "rec-norm_T2w", "flair": "space-T1w_FLAIR"}),
        (("echo-1_T1w", "echo-2_T1w", "T2w"), {"t1": "echo-1_T1w", "t2": "T2w"}),
        (("part-mag_T1w", "part-phase_T1w", "part-phase_T2w"), {"t1": "part-mag_T1w"}),
        (("part-phase_T1w", "part-real_T1w", "T1w", "part-imag_FLAIR"), {"t1": "T1w"}),
        (("run-2_T1w", "run-10_T1w", "run-01_T2w"), {"t1": "run-10_T1w", "t2": "run-01_T2w"}),
        (("space-MNI152_T1w", "T1w"), {"t1": "T1w"}),
        (("chunk-1_T1w", "chunk-2_T1w", "acq-fast_T1w"), {"t1": "acq-fast_T1w"}),
        (
            ("run-1_T1w", "ce-gadolinium_run-1_T1w", "run-1_FLAIR", "ce-gd_run-1_FLAIR", "ce-gd_run-2_T1w"),
            {"t1": "run-1_T1w", "t1gd": "ce-gd_run-2_T1w", "flair": "run-1_FLAIR"},
        ),
        (("acq-MPRAGEPostGd_T1w", "acq-MPRAGE_T1w"), {"t1": "acq-MPRAGE_T1w", "t1gd": "acq-MPRAGEPostGd_T1w"}),
        (("acq-space_T1w", "acq-noncontrast_T2w"), {"t1": "acq-space_T1w", "t2": "acq-noncontrast_T2w"}),
        (("acq-postop_T1w",), {"t1": "acq-postop_T1w"}),
        (("T1w", "T1w_mask", "desc-x_dwi", "inv-1_MP2RAGE"), {"t1": "T1w"}),
    ],
)
def test_one_session_is_one_case(tmp_path: Path, names: tuple[str, ...], images: dict[str, str]) -> None:
    root = tree(tmp_path, *(f"sub-01_{name}" for name in names))
    assert taken(root) == {"sub-01": images}
    (tmp_path / "b").mkdir()
    root = tree(tmp_path / "b", *(f"sub-01_ses-a_{name}" for name in names), "sub-01_ses-b_T1w", "sub-02_T1w")
    assert taken(root) == {"sub-01_ses-a": images, "sub-01_ses-b": {"t1": "T1w"}, "sub-02": {"t1": "T1w"}}


def test_the_highest_resolution_is_taken_before_the_last_run(tmp_path: Path) -> None:
    names = {"run-1_T1w": (1, 1, 1), "run-2_T1w": (0.5, 0.5, 5), "run-3_T1w": (1.2, 1.2, 1.2), "run-4_T1w": None}
    for name, spacing in names.items():
        path = tmp_path / f"sub-01/anat/sub-01_{name}.nii.gz"
        make_image(path, spacing) if spacing else path.write_bytes(b"no image")
    (session,) = find_sessions(tmp_path, TISSUE.modalities)
    assert session.images["t1"].name == "sub-01_run-1_T1w.nii.gz"
    assert session.notes == ("of 4 T1 images sub-01_run-1_T1w.nii.gz is taken (the highest resolution)",)


def test_of_equal_resolution_the_last_run_is_taken(tmp_path: Path) -> None:
    for name, side in (("run-1", 1.0), ("run-2", 1.00001), ("run-3", 0.99999)):
        make_image(tmp_path / f"sub-01/anat/sub-01_{name}_T1w.nii.gz", (side, 1, 1))
    (session,) = find_sessions(tmp_path, TISSUE.modalities)
    assert session.images["t1"].name == "sub-01_run-3_T1w.nii.gz" and "(the last run)" in session.notes[0]


@pytest.mark.parametrize("part", ["", "sub-01", "sub-01/ses-a", "sub-01/ses-a/anat"])
def test_a_part_of_a_tree_is_read_as_the_tree(tmp_path: Path, part: str) -> None:
    tree(tmp_path, "sub-01_ses-a_T1w", "sub-01_ses-a_T2w", "sub-01_ses-a_FLAIR")
    assert taken(tmp_path / part) == {"sub-01_ses-a": {"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}}


def test_a_flat_folder_of_bids_names_is_grouped_and_others_stand_alone(tmp_path: Path) -> None:
    for name in ("sub-01_T1w", "sub-01_FLAIR", "sub-02_FLAIR", "anna"):
        make_image(tmp_path / f"{name}.nii.gz")
    cases = find_cases([tmp_path], WMH.modalities)
    assert [(case.name, sorted(case.images)) for case in cases] == [
        ("sub-01", ["flair", "t1"]),
        ("sub-02", ["flair"]),
        ("anna", ["flair"]),
    ]
    tissue = find_cases([tmp_path], TISSUE.modalities[:1])
    assert [case.name for case in tissue] == ["sub-01", "anna"]
    assert omitted_subjects([tmp_path], tissue) == ["sub-02"]
