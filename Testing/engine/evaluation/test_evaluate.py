"""`asa evaluate`: pairing, conventions, tables."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
from Testing.engine.labelled_files import brats_case, label_map, save

from asa.cli import build, main
from asa.data.datasets import DATASETS
from asa.errors import InputError
from asa.evaluation.evaluate import Protocol, case_name, evaluate
from asa.evaluation.tables import markdown, summary
from asa.volume import read_volume

BRATS = Protocol(DATASETS["brats2021"])


@pytest.fixture
def brats(tmp_path):
    """Two cases of which the second has no enhancing tumour; predictions right but for that."""
    brats_case(tmp_path / "ref", "BraTS2021_00001", (1, 2, 4))
    brats_case(tmp_path / "ref", "BraTS2021_00002", (1, 2))
    save(tmp_path / "ours" / "BraTS2021_00001.nii.gz", label_map((1, 2, 3)))
    save(tmp_path / "ours" / "BraTS2021_00002" / "segmentation.nii.gz", label_map((1, 2, 3)))
    save(tmp_path / "other" / "BraTS2021_00001.nii.gz", label_map((1, 0, 3)))
    save(tmp_path / "other" / "BraTS2021_00002.nii.gz", label_map((1, 2)))
    return tmp_path


def test_regions_and_empty_convention(brats):
    scores = evaluate({"ours": brats / "ours"}, brats / "ref", BRATS)["ours"]
    assert set(scores) == {"BraTS2021_00001", "BraTS2021_00002"}
    assert {region: m["dice"] for region, m in scores["BraTS2021_00001"].items()} == {"WT": 1, "TC": 1, "ET": 1}
    second = scores["BraTS2021_00002"]
    assert second["ET"]["dice"] == 0
    assert second["ET"]["one_empty"] == 1
    assert second["ET"]["hd95_mm"] == pytest.approx(np.hypot(np.hypot(8, 9), 10))
    assert second["WT"]["dice"] == pytest.approx(2 * 18 / (18 + 27))


def test_summary_counts_conventions_and_compares(brats):
    scores = evaluate({"ours": brats / "ours", "other": brats / "other"}, brats / "ref", BRATS)
    found = summary(scores, BRATS)
    assert found["systems"]["ours"]["ET"]["one_empty"] == 1
    assert found["systems"]["other"]["ET"]["both_empty"] == 1
    dice = found["systems"]["ours"]["ET"]["dice"]
    assert (dice["count"], dice["mean"], dice["median"]) == (2, 0.5, 0.5)
    assert dice["low"] <= 0.5 <= dice["high"]
    (comparison,) = found["comparisons"]["WT"]["dice"]
    assert comparison["system"] == "other"
    assert comparison["p_holm"] >= comparison["p"]
    text = markdown(found)
    assert "0.500 ± 0.707 (0.500)" in text
    assert "Holm" in text
    assert found["convention"] in text
    comparison["p"] = 3e-7
    assert "| < 0.0001 |" in markdown(found)


def test_what_the_reference_does_not_mark_is_not_scored():
    assert set(Protocol(DATASETS["ibsr-tri"]).regions) == {"ventricles", "GM", "WM"}
    assert "CSF" in Protocol(DATASETS["tissue"]).regions


def test_predictions_on_ignored_labels_do_not_count(tmp_path):
    folder = tmp_path / "Utrecht" / "3"
    save(folder / "pre" / "FLAIR.nii.gz", label_map((1,)))
    save(folder / "wmh.nii.gz", label_map((1, 2)))
    save(tmp_path / "ours" / "Utrecht-3.nii.gz", label_map((1, 1)))
    (scores,) = evaluate({"ours": tmp_path / "ours"}, tmp_path / "Utrecht" / "..", Protocol(DATASETS["wmh2017"]))[
        "ours"
    ].values()
    assert scores["WMH"]["dice"] == 1


def test_a_result_beside_the_manual_labels_is_not_its_own_reference(tmp_path):
    save(tmp_path / "anna" / "labels.nii.gz", label_map((1,)))
    save(tmp_path / "anna" / "segmentation.nii.gz", label_map((0, 1)))
    assert evaluate({"ours": tmp_path}, tmp_path, Protocol(DATASETS["wmh"]))["ours"]["anna"]["WMH"]["dice"] == 0


def test_two_files_are_paired_whatever_their_names(tmp_path):
    ours, theirs = save(tmp_path / "a.nii.gz", label_map((1,))), save(tmp_path / "b.nii", label_map((1,)))
    assert evaluate({"ours": ours}, theirs, Protocol(DATASETS["wmh"]))["ours"]["b"]["WMH"]["dice"] == 1


def test_one_error_lists_everything(brats):
    save(brats / "ours" / "BraTS2021_00001.nii.gz", label_map((1, 2, 3)), (1, 1, 2))
    save(brats / "ours" / "BraTS2021_00002" / "segmentation.nii.gz", label_map((1, 4)))
    save(brats / "other" / "BraTS2021_00002.nii.gz", label_map((1,)) * np.float32(0.999))
    with pytest.raises(InputError) as caught:
        evaluate({"ours": brats / "ours", "other": brats / "other"}, brats / "ref", BRATS)
    grids = "The prediction is not on the grid of the reference: voxels of 1x1x2 mm instead of 1x1x1 mm"
    for part in ("3 problems", grids, "labels contain 4", "not whole numbers"):
        assert part in str(caught.value)


def lesions(path, affine, slope=None):
    image = nibabel.Nifti1Image(np.pad(np.ones((9, 8, 7), np.uint8), 3), affine)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    path.parent.mkdir(exist_ok=True)
    nibabel.save(image, path)
    return path


def grid(spacing=(1, 1, 1), origin=(0, 0, 0), degrees=0.0):
    turn = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] * spacing
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize(
    ("affine", "difference"),
    [
        (grid(origin=(0.05, 0, 0)), ""),
        (grid(origin=(-90.05, 126, -71.95)), ""),
        (grid((3, 3, 0.5), (0, 0, 0.024)), ""),
        (grid((1, 1, 1.0005)), ""),
        (grid(origin=(2, 0, 0)), "the origins are 2 mm apart"),
        (grid(origin=(0, 0, 0.07)), "the origins are 0.07 mm apart"),
        (grid((1, 1, 1.2)), "voxels of 1x1x1.2 mm instead of 1x1x1 mm"),
        (grid((1, 1, 1.02)), "voxels of 1x1x1.02 mm instead of 1x1x1 mm"),
        (grid(degrees=5), "axes turned by 5 degrees"),
        (grid(origin=(2, 0, 0), degrees=5), "axes turned by 5 degrees, the origins are 2 mm apart"),
    ],
)
def test_grids_are_the_same_to_a_twentieth_of_a_voxel_and_else_it_is_said_what_differs(tmp_path, affine, difference):
    reference = (
        grid((3, 3, 0.5)) if affine[1, 1] == 3 else grid(origin=(-90, 126, -72) if affine[0, 3] < -1 else (0,) * 3)
    )
    files = lesions(tmp_path / "a.nii.gz", affine), lesions(tmp_path / "b.nii.gz", reference)
    if difference:
        with pytest.raises(InputError, match=difference) as caught:
            evaluate({"ours": files[0]}, files[1], Protocol(DATASETS["wmh"]))
        assert "mm of" not in str(caught.value) and "mirror" not in str(caught.value)
    else:
        assert evaluate({"ours": files[0]}, files[1], Protocol(DATASETS["wmh"]))["ours"]["b"]["WMH"]["dice"] == 1


def test_other_sizes_are_said(tmp_path):
    ours, theirs = save(tmp_path / "a.nii.gz", label_map((1,))), lesions(tmp_path / "b.nii.gz", grid())
    with pytest.raises(InputError, match="8x9x10 of 1x1x1 mm instead of 15x14x13 of 1x1x1 mm"):
        evaluate({"ours": ours}, theirs, Protocol(DATASETS["wmh"]))


@pytest.mark.parametrize(("slope", "whole"), [(0.99999994, True), (1.0000001, True), (0.99, False), (0.5, False)])
def test_a_rounded_slope_leaves_labels_whole(tmp_path, slope, whole):
    path = lesions(tmp_path / "a.nii.gz", grid(), slope)
    if whole:
        assert set(np.unique(read_volume(path, labels=True).array)) == {0, 1}
    else:
        with pytest.raises(InputError, match="not whole numbers"):
            read_volume(path, labels=True)


def test_missing_partners_are_listed_and_partial_leaves_cases_out(brats):
    save(brats / "ours" / "stranger.nii.gz", label_map((1,)))
    (brats / "other" / "BraTS2021_00002.nii.gz").unlink()
    message = r"(?s)2 problems.*no reference for stranger.*other: no prediction for BraTS2021_00002"
    with pytest.raises(InputError, match=message):
        evaluate({"ours": brats / "ours", "other": brats / "other"}, brats / "ref", BRATS)
    scores = evaluate({"other": brats / "other"}, brats / "ref", Protocol(DATASETS["brats2021"], partial=True))
    assert list(scores["other"]) == ["BraTS2021_00001"]


def test_predictions_may_have_the_values_of_a_release(brats):
    save(brats / "four" / "BraTS2021_00001.nii.gz", label_map((1, 2, 4)))
    protocol = Protocol(DATASETS["brats2021"], DATASETS["brats2021"], partial=True)
    assert evaluate({"x": brats / "four"}, brats / "ref", protocol)["x"]["BraTS2021_00001"]["ET"]["dice"] == 1


def test_command_writes_tables(brats, capsys):
    arguments = ["evaluate", str(brats / "ours"), str(brats / "ref"), "--dataset", "brats2021", "--lesionwise"]
    arguments += ["--name", "ours", "--against", f"other={brats / 'other'}", "-o", str(brats / "out")]
    build()(args=arguments, standalone_mode=False)
    assert "Lesion-wise Dice" in capsys.readouterr().out
    with (brats / "out" / "cases.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 2 * 2 * 3
    assert float(table[0]["dice"]) == 1
    assert json.loads((brats / "out" / "summary.json").read_text())["cases"] == 2
    assert "| ours | WT |" in (brats / "out" / "summary.md").read_text()


@pytest.mark.parametrize("option", ["other", "=x", "ASA=x"])
def test_command_says_what_is_wrong_with_against(option, tmp_path, capsys):
    path = str(save(tmp_path / "a.nii.gz", label_map((1,))))
    with pytest.raises(SystemExit) as left:
        main(["evaluate", path, path, "--against", option])
    assert left.value.code == 3
    assert "Error: " in capsys.readouterr().err


def test_case_names(tmp_path):
    assert [case_name(tmp_path / n) for n in ("a.b.nii.gz", "a.seg.nrrd", "A.NII", "x.txt")] == ["a.b", "a", "A", "x"]
    with pytest.raises(InputError, match="contains no label map"):
        evaluate({"x": tmp_path}, save(tmp_path / "r" / "a.nii", label_map((1,))), Protocol(DATASETS["wmh"]))


def test_a_real_reference_agrees_with_itself(data_root):
    one = data_root / "ibsr" / "IBSR_01" / "IBSR_01_segTRI_ana.nii.gz"
    (scores,) = evaluate({"self": one}, one, Protocol(DATASETS["ibsr-tri"]))["self"].values()
    assert {metrics["dice"] for metrics in scores.values()} == {1.0}


def test_references_of_one_name_are_an_error(brats):
    brats_case(brats / "ref" / "HGG", "BraTS2021_00001")
    with pytest.raises(InputError, match="BraTS2021_00001: 2 cases have this name"):
        evaluate({"ours": brats / "ours"}, brats / "ref", BRATS)


@pytest.mark.parametrize("name", ["cases.csv", "summary.json", "summary.md"])
def test_files_of_others_are_not_overwritten(brats, tmp_path, capsys, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("of one's own")
    words = ["evaluate", str(brats / "ours"), str(brats / "ref"), "--dataset", "brats2021", "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 4 and f"{name} already exists" in capsys.readouterr().err
    assert (tmp_path / "out" / name).read_text() == "of one's own"
    (tmp_path / "out" / name).unlink()
    for _ in range(2):  # its own tables it does replace
        with pytest.raises(SystemExit) as left:
            main(words)
        assert not left.value.code


def test_the_table_of_cases_is_not_overwritten(tmp_path, capsys):
    table = tmp_path / "cases.csv"
    table.write_text("case,t1,labels\na,a.nii.gz,b.nii.gz\n")
    with pytest.raises(SystemExit) as left:
        main(["evaluate", str(tmp_path), str(table), "--dataset", "tissue", "-o", str(tmp_path)])
    assert left.value.code == 4 and "would overwrite the input" in capsys.readouterr().err
    assert table.read_text().startswith("case,t1,labels")
