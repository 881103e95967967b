"""Series of one patient in grids of their own: registered, recognised, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from Testing.engine.atlas_heads import head, in_motion, knee, noise_block, phantom, true_matrix

from asa.errors import InputError
from asa.geometry import FRAME, Alignment, TissueContrast, align_to_frame, template_brain
from asa.geometry.orientation import about, turned
from asa.inference import placement as placement_module
from asa.inference.identity import check_one_patient
from asa.inference.placement import place_series, reached
from asa.inference.quality import (
    ROUGH,
    enhancement,
    exchanged_reasons,
    input_reasons,
    pose_notes,
    refuse_no_brain,
    roughness,
    turn_reasons,
)
from asa.inference.series import Placement, Series
from asa.preprocessing.normalise import stripped_brain
from asa.volume import Grid, Volume, read_volume

LYING, MOVED = true_matrix(3, 2, 4), true_matrix(6, -1, 1)


@pytest.fixture(scope="module")
def patient() -> dict[str, Volume]:
    """A whole head in three series: the head moved in between, slices lie 4 and 3 mm apart."""
    return {
        "t1": head(LYING, "t1", person=1, spacing=(2, 2, 2)),
        "t2": head(MOVED, "t2", person=1, spacing=(4, 1.5, 1.5)),
        "flair": head(MOVED, "flair", person=1, spacing=(2, 2, 3)),
    }


@pytest.fixture(scope="module", autouse=True)
def aligned_once() -> Iterator[None]:
    """A scan that several tests take is aligned with the brain frame once."""
    known: dict[int, tuple[Volume, Alignment]] = {}

    def align(scan: Volume) -> Alignment:
        if id(scan) not in known:
            known[id(scan)] = scan, align_to_frame(scan)
        return known[id(scan)][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement_module, "align_to_frame", align)
        yield


@pytest.fixture(scope="module")
def placement(patient: dict[str, Volume]) -> Placement:
    return place_series(patient, align=True)


def apart_mm(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance over the brain between where two matrices, frame mm to scan mm, put it."""
    points = FRAME.to_world(np.argwhere(template_brain())[::997])
    difference = one - other
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


def test_series_are_registered_with_one_another(placement: Placement) -> None:
    assert placement.anchor == "t1" and list(placement.series) == ["t1", "t2", "flair"]
    assert placement.warnings == ()
    between = MOVED @ np.linalg.inv(LYING)
    t1 = placement.series["t1"].alignment.matrix
    assert apart_mm(between @ t1, t1) > 3, "the head did move"
    for key in ("t2", "flair"):
        assert placement.series[key].registered
        assert apart_mm(placement.series[key].alignment.matrix, between @ t1) < 0.7
        assert placement.series[key].agreement > 0.5
    assert placement.to_report()["flair"]["registration"] == "rigid"
    assert list(input_reasons(placement)) == []


def test_what_lies_in_one_place_already_stays() -> None:
    brains = {key: head(LYING, key, person=1, stripped=True) for key in ("t1", "flair")}
    placed = place_series(brains, align=True)
    reported = placed.to_report()["flair"]
    assert reported["stripped"] is True and reported["registration"] == "as given"
    np.testing.assert_array_equal(placed.series["flair"].alignment.matrix, placed.series["t1"].alignment.matrix)
    assert placed.stripped is placed.series["t1"]
    brain = stripped_brain(placed.stripped.scan, placed.stripped.alignment)
    assert 2 * (brain & template_brain()).sum() / (brain.sum() + template_brain().sum()) > 0.93


def test_the_scanners_coordinates_may_mean_nothing(patient: dict[str, Volume], placement: Placement) -> None:
    flair = patient["flair"]
    away = flair.grid.affine.copy()
    away[:3, 3] += (150, -90, 60)
    elsewhere = Volume(flair.array, Grid(flair.grid.shape, away))
    placed = place_series({"t1": patient["t1"], "flair": elsewhere}, align=True)
    shift = np.eye(4)
    shift[:3, 3] = (150, -90, 60)
    expected = shift @ placement.series["flair"].alignment.matrix
    assert apart_mm(placed.series["flair"].alignment.matrix, expected) < 1


def test_a_series_that_does_not_cover_the_brain_is_said() -> None:
    brains = {key: head(LYING, key, person=1, stripped=True) for key in ("t1", "flair")}
    flair = brains["flair"]
    rows = np.flatnonzero(flair.array.any(axis=(1, 2)))
    end = int(rows[-1] - 0.3 * np.ptp(rows))
    short = Volume(flair.array[:end], Grid((end, *flair.grid.shape[1:]), flair.grid.affine))
    (warning,) = place_series({"t1": brains["t1"], "flair": short}, align=True).warnings
    assert "of the brain lies outside the field of view of the FLAIR image" in warning


def test_a_file_that_does_not_say_how_the_head_lies_is_doubted() -> None:
    brain = head(LYING, "t1", person=1, stripped=True)
    header = nibabel.Nifti1Header()
    said = {}
    for code in (0, 1):
        header["sform_code"] = header["qform_code"] = code
        scan = Volume(brain.array, brain.grid, replace(brain.storage, header=header.copy()))
        placed = Placement({"t1": Series(scan, align_to_frame(brain), stripped=True)}, "t1")
        said[code] = " ".join(input_reasons(placed))
    assert "left and right may be swapped" in said[0] and said[1] == ""


def test_two_people_are_refused(patient: dict[str, Volume]) -> None:
    other = head(MOVED, "flair", person=2, spacing=(3, 3, 3))
    with pytest.raises(InputError, match="FLAIR and T1 images do not show the same head"):
        place_series({"t1": patient["t1"], "flair": other}, align=True)


@pytest.mark.parametrize(
    ("levels", "variety", "is_head"),
    [
        ((1.0, 0.65, 0.2), 0.01, True),
        ((0.55, 0.75, 0.1), 0.01, True),
        ((0.35, 0.5, 1.0), 0.01, True),
        ((0.97, 0.95, 0.96), 0.01, False),
        ((0.556, 0.576, 0.559), 0.041, True),  # a FLAIR in which a large tumour levels the means
    ],
)
def test_what_is_one_substance_is_no_brain(
    monkeypatch: pytest.MonkeyPatch, levels: tuple[float, float, float], variety: float, is_head: bool
) -> None:
    """The outline of a ball explains a part of its grey levels; that there is one level inside tells."""
    contrast = TissueContrast(*levels, explained=0.3, variety=variety)
    monkeypatch.setattr("asa.inference.quality.tissue_contrast", lambda *_: contrast)
    scan = Volume(np.zeros((2, 2, 2), np.float32), Grid((2, 2, 2), np.eye(4)))
    place = Alignment(np.eye(4), "affine", 0.7)
    if is_head:
        refuse_no_brain("t1", scan, place)
    else:
        with pytest.raises(InputError, match="phantom or another body part, or has a wrong orientation or voxel size"):
            refuse_no_brain("t1", scan, place)


@pytest.mark.parametrize("thing", [noise_block, phantom, knee])
def test_what_is_no_brain_is_refused(thing) -> None:
    with pytest.raises(InputError, match="does not show a recognisable brain"):
        place_series({"t1": thing()}, align=True)


def test_the_wrong_modality_is_said_and_the_right_one_proposed(placement: Placement) -> None:
    said = placement.series
    wrong = Placement({"t1": said["t2"], "t2": said["flair"], "flair": said["t1"]}, "t1")
    reasons = list(input_reasons(wrong))
    assert [reason.split("; ")[0] for reason in reasons] == [
        "The T1 image has the contrast of a T2",
        "The T2 image has the contrast of a FLAIR",
        "The FLAIR image has the contrast of a T1",
    ]


UPSIDE_DOWN = np.diag([-1.0, 1.0, -1.0])
ON_THE_SIDE = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("turn", "doubt", "note"),
    [
        (np.eye(3), "", ""),
        (UPSIDE_DOWN, "its face towards the front and vertex towards the bottom", ""),
        (ON_THE_SIDE, "", "its face towards the left and vertex towards the top"),
    ],
)
def test_a_head_that_lies_otherwise_than_its_header_says(
    patient: dict[str, Volume], turn: np.ndarray, doubt: str, note: str
) -> None:
    scan = patient["t1"]
    placement = place_series({"t1": turned(scan, about(scan.grid.centre, turn))}, align=True)
    found = list(turn_reasons(placement))
    assert [doubt in one and "left and right may be swapped" in one for one in found] == [True] * bool(doubt)
    assert [note in one for one in pose_notes(placement)] == [True] * bool(note)
    assert list(input_reasons(placement)) == [], "no other reason is given"


def test_a_wrong_voxel_size_is_the_reason_and_not_motion(patient: dict[str, Volume]) -> None:
    scan = patient["t1"]
    short = replace(scan, grid=Grid(scan.grid.shape, np.diag([1, 0.66, 1, 1]) @ scan.grid.affine))
    reasons = list(input_reasons(place_series({"t1": short}, align=True)))
    assert "if the voxel size is wrong, so are all volumes" in reasons[0]
    assert not any("motion" in reason for reason in reasons)


def test_ripples_in_white_matter_are_rough() -> None:
    rng = np.random.default_rng(0)
    still = (500 + 100 * rng.normal(size=FRAME.shape)).astype(np.float32)
    ghosts = 50 * np.sin(np.arange(FRAME.shape[1]) * 2 * np.pi / 14).astype(np.float32)[:, None]
    assert roughness(still) < ROUGH < roughness(still + ghosts), "noise of a fifth is no motion"
    assert roughness(np.zeros_like(still)) == 0
    hole = still.copy()
    hole[80:110, 100:130, 60:90] = 0
    assert roughness(hole) < ROUGH, "an implant is no motion"


@pytest.mark.slow
def test_strong_motion_is_noticed(data_root: Path) -> None:
    # of a scan whose noise survived; in others of the set, smoother ones, such motion stays below the limit
    still = read_volume(data_root / "t1" / "sub-16" / "anat" / "sub-16_T1w.nii.gz")
    place = align_to_frame(still)
    for scan, seen in ((still, False), (in_motion(still), True)):
        reasons = " ".join(input_reasons(Placement({"t1": Series(scan, place)}, "t1")))
        assert ("motion of the head" in reasons) is seen, reasons


def test_exchanged_t1s_are_noticed() -> None:
    rng = np.random.default_rng(0)
    brain = template_brain()
    native = np.where(brain, rng.normal(0, 1, brain.shape), 0).astype(np.float32)
    enhanced = native + np.where(brain, rng.normal(0, 0.2, brain.shape), 0).astype(np.float32)
    enhanced[70:76, 60:100, 60:100] += 3  # a lesion of 10 mL
    assert enhancement(native, enhanced, brain) > 0.1
    assert list(exchanged_reasons({"t1": native, "t1gd": enhanced}, brain)) == []
    assert "exchanged" in next(exchanged_reasons({"t1": enhanced, "t1gd": native}, brain))
    assert list(exchanged_reasons({"t1": native}, brain)) == []


def test_what_a_series_does_not_reach() -> None:
    brain = template_brain()
    scan = Volume(np.zeros((60, 192, 160), np.float32), Grid((60, 192, 160), FRAME.affine))
    series = Series(scan, Alignment(np.eye(4), "identity", 1.0))
    inside = reached(series, brain)
    assert inside[:60].sum() == brain[:60].sum() and not inside[60:].any()
    whole = Series(Volume(np.zeros(FRAME.shape, np.float32), FRAME), series.alignment)
    assert reached(whole, brain) is brain


def test_dicom_tags_of_two_patients(tmp_path: Path) -> None:
    images = {key: tmp_path / f"{key}.nii.gz" for key in ("t1", "flair")}
    check_one_patient(images)  # nothing is known
    (tmp_path / "t1.json").write_text(json.dumps({"PatientID": "4711", "PatientSex": "F"}))
    (tmp_path / "flair.json").write_text(json.dumps({"PatientID": "4711 ", "EchoTime": 0.1}))
    check_one_patient(images)
    (tmp_path / "flair.json").write_text(json.dumps({"PatientID": "0815"}))
    with pytest.raises(InputError, match="t1 and flair images are from different patients") as caught:
        check_one_patient(images)
    assert "4711" not in str(caught.value) and "0815" not in str(caught.value), "no identifier is repeated"
    (tmp_path / "flair.json").write_text("[]")
    check_one_patient(images)


@pytest.mark.slow
def test_a_clinical_patient(data_root: Path) -> None:
    """Three grids, thick slices, skull."""
    folder = data_root / "whole_head" / "patient12"
    files = {"t1": "t1w", "t2": "t2w", "flair": "flair"}
    scans = {key: read_volume(folder / f"patient12_{name}.nii.gz") for key, name in files.items()}
    placed = place_series(scans, align=True)
    assert placed.warnings == () and placed.stripped is None
    assert min(series.agreement for series in placed.series.values()) > 0.4
    assert list(input_reasons(placed)) == []
    alone = place_series({"t1": scans["t1"], "t2": scans["flair"]}, align=True)
    assert "has the contrast of a FLAIR" in " ".join(input_reasons(alone))
