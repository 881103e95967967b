"""Which volume is which: names as scanners and data sets write them, DICOM tags, contrast of real heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asa.modalities.contrast import measure_contrast
from asa.modalities.matching import Candidate, named_modality, propose, tagged_modality

KEYS = ("t1", "t1gd", "t2", "flair")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("BraTS2021_01476_t1", "t1"),
        ("BraTS2021_01476_t1ce", "t1gd"),
        ("T1C", "t1gd"),
        ("T1 + C", "t1gd"),
        ("Ax T1 FSPGR GAD", "t1gd"),
        ("t1_mprage_sag post gd", "t1gd"),
        ("t1_mprage_sag pre gd", "t1"),
        ("T1 without contrast", "t1"),
        ("sub-01_ce-gadolinium_T1w", "t1gd"),
        ("sub-01_T1w", "t1"),
        ("3D T1 MPRAGE", "t1"),
        ("t1_tse_cor", "t1"),
        ("Ax T2 TSE", "t2"),
        ("t2_space_dark-fluid", "flair"),
        ("AX T2 FLAIR", "flair"),
        ("sub-01_FLAIR", "flair"),
        ("T2*", None),
        ("MRHead", None),
        ("t1_seg", ""),
        ("ADC map", ""),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert named_modality(name) == expected


@pytest.mark.parametrize(
    "tags, expected",
    [
        ({"SeriesDescription": "Sag MPRAGE"}, "t1"),
        ({"SeriesDescription": "Sag MPRAGE", "ContrastBolusAgent": "Gadovist"}, "t1gd"),
        ({"EchoTime": "3", "RepetitionTime": "2000", "InversionTime": "900"}, "t1"),
        ({"EchoTime": "100", "RepetitionTime": "9000", "InversionTime": "2500"}, "flair"),
        ({"EchoTime": "100", "RepetitionTime": "5000"}, "t2"),
        ({"EchoTime": "?"}, None),
        ({}, None),
    ],
)
def test_tags(tags: dict[str, str], expected: str | None) -> None:
    assert tagged_modality(tags) == expected


def test_a_clear_name_outweighs_everything_else() -> None:
    candidates = [Candidate("a", "flair", {"EchoTime": "3"}), Candidate("b", "t1")]
    assert propose(candidates, KEYS, KEYS) == {"flair": "a", "t1": "b"}


def test_a_single_nameless_volume_is_taken_where_one_is_required() -> None:
    assert propose([Candidate("a", "MRHead")], ["t1"], ["t1"]) == {"t1": "a"}
    assert propose([Candidate("a", "labels")], ["t1"], ["t1"]) == {}
    assert propose([Candidate("a", "", {"SeriesDescription": "T2"})], ["t1"], ["t1"]) == {}
    assert propose([Candidate("a", "x"), Candidate("b", "y")], ["t1"], ["t1"]) == {}
    assert propose([], KEYS, KEYS) == {}


def test_contrast_of_nothing_is_none() -> None:
    assert measure_contrast(np.zeros((40, 40, 40), np.int16), (1, 1, 1)) is None
    assert measure_contrast(np.full((40, 40, 40), 7.0), (1, 1, 1)) is None


def test_contrast_alone_tells_most_real_scans_apart(data_root: Path) -> None:
    """Nameless volumes of six patients with four modalities each: a proposal, not an oracle."""
    nibabel = pytest.importorskip("nibabel")
    files = {"t1": "t1", "t1gd": "t1ce", "t2": "t2", "flair": "flair"}
    right = total = 0
    for case in sorted((data_root / "brats").iterdir()):
        candidates = []
        for key, ending in files.items():
            for path in case.glob(f"*_{ending}.nii.gz"):
                image = nibabel.load(path)
                spacing = tuple(float(step) for step in image.header.get_zooms()[::-1])
                contrast = measure_contrast(np.asanyarray(image.dataobj).T, spacing)
                candidates.append(Candidate(key, "", {}, contrast))
        chosen = propose(candidates, KEYS, KEYS)
        right += sum(key == node for key, node in chosen.items())
        total += len(candidates)
    assert total >= 16
    assert right / total >= 0.7
