"""Data sets: namings, label conventions, and one error that lists everything that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from Testing.engine.labelled_files import SHAPE, brats_case, image, label_map, new_brats_case, save

from asa.cli import main
from asa.data.case_store import prepare_cases
from asa.data.cases import IGNORED, load_dataset
from asa.data.datasets import DATASETS, dataset_by_name
from asa.errors import InputError
from asa.tasks import TASKS
from asa.volume import read_volume


@pytest.mark.parametrize(
    ("year", "names"),
    [
        ("2018", ["HGG/Brats18_CBICA_AAB_1", "LGG/Brats18_TCIA09_141_1"]),
        ("2019", ["HGG/BraTS19_2013_10_1", "LGG/BraTS19_TCIA13_654_1"]),
        ("2020", ["MICCAI_BraTS2020_TrainingData/BraTS20_Training_001"]),
        ("2021", ["BraTS2021_00000", "BraTS2021_01666"]),
    ],
)
def test_brats_up_to_2021(tmp_path, year, names):
    for name in names:
        folder, _, case = name.rpartition("/")
        brats_case(tmp_path / folder, case, suffix=".nii" if year == "2020" else ".nii.gz")
    dataset = dataset_by_name(f"brats{year}")
    cases = load_dataset(dataset, tmp_path)
    assert [c.name for c in cases] == sorted(n.rpartition("/")[2] for n in names)
    assert set(cases[0].images) == {"t1", "t1gd", "t2", "flair"}
    assert "t1ce" in cases[0].images["t1gd"].name
    labels = dataset.to_task(read_volume(cases[0].labels, labels=True).array)
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_the_misnamed_mask_of_2020_is_found(tmp_path):
    folder = brats_case(tmp_path, "BraTS20_Training_355", suffix=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    (case,) = load_dataset(DATASETS["brats2020"], tmp_path)
    assert case.labels.name == "W39_1998.09.19_Segm.nii"


def test_from_2023_on_enhancing_is_3_and_time_points_share_a_subject(tmp_path):
    new_brats_case(tmp_path, "BraTS-GLI-00002-000")
    new_brats_case(tmp_path, "BraTS-GLI-00002-001")
    cases = load_dataset(DATASETS["brats2023"], tmp_path)
    assert [c.subject for c in cases] == ["BraTS-GLI-00002"] * 2
    assert DATASETS["brats2023"].values[3] == 3


def test_the_meaning_of_4_comes_from_the_release(tmp_path):
    cavity = np.array([[[0, 1, 2, 3, 4]]], np.uint8)
    assert DATASETS["brats2024"].to_task(cavity).ravel().tolist() == [0, 1, 2, 3, 0]
    assert DATASETS["brats2021"].to_task(cavity[..., [0, 1, 2, 4]]).ravel().tolist() == [0, 1, 2, 3]
    new_brats_case(tmp_path, "BraTS-GLI-00005-100", values=(1, 4))
    assert load_dataset(DATASETS["brats2024"], tmp_path)
    with pytest.raises(InputError, match=r"BraTS-GLI-00005-100: labels contain 4; BraTS 2023 defines 0, 1, 2, 3"):
        load_dataset(DATASETS["brats2023"], tmp_path)


def test_children_of_2024_whose_1_is_enhancing_are_not_read_as_adults(tmp_path):
    new_brats_case(tmp_path, "BraTS-PED-00001-000", values=(1, 2, 3, 4))
    with pytest.raises(InputError, match="contains no case of BraTS 2024"):
        load_dataset(DATASETS["brats2024"], tmp_path)
    new_brats_case(tmp_path, "BraTS-GLI-00005-100", values=(1, 4))
    assert [c.name for c in load_dataset(DATASETS["brats2024"], tmp_path)] == ["BraTS-GLI-00005-100"]


@pytest.mark.parametrize(("name", "other"), [("ibsr-tri", "ibsr-fill"), ("ibsr-fill", "ibsr-tri")])
def test_ibsr_reads_the_label_file_that_is_asked_for(tmp_path, name, other):
    ending = {"ibsr-tri": "segTRI_ana", "ibsr-fill": "segTRI_fill_ana"}
    save(tmp_path / "IBSR_01" / "IBSR_01_ana_strip.nii.gz", image())
    save(tmp_path / "IBSR_01" / f"IBSR_01_{ending[name]}.nii.gz", label_map((1, 2, 3)))
    (case,) = load_dataset(DATASETS[name], tmp_path)
    assert case.labels.name == f"IBSR_01_{ending[name]}.nii.gz"
    with pytest.raises(InputError, match="IBSR_01: no label map"):
        load_dataset(DATASETS[other], tmp_path)


def test_wmh_case_numbers_repeat_between_sites_and_other_pathology_is_ignored(tmp_path):
    for site in ("Utrecht", "Singapore", "Amsterdam/GE3T"):
        folder = tmp_path / "training" / site / "1"
        for name in ("orig/T1", "orig/FLAIR", "pre/T1", "pre/FLAIR"):
            save(folder / f"{name}.nii.gz", image())
        save(folder / "wmh.nii.gz", label_map((1, 2)))
    dataset = DATASETS["wmh2017"]
    cases = load_dataset(dataset, tmp_path)
    assert [c.name for c in cases] == ["Amsterdam-GE3T-1", "Singapore-1", "Utrecht-1"]
    assert all("pre" in path.parts for path in cases[0].images.values())
    assert dataset.to_task(np.array([[[0, 1, 2]]])).ravel().tolist() == [0, 1, IGNORED]


def test_wmh_headers_may_be_a_little_apart_and_other_data_sets_may_not(tmp_path):
    save(tmp_path / "wmh" / "63" / "pre" / "T1.nii.gz", image())
    save(tmp_path / "wmh" / "63" / "wmh.nii.gz", label_map((1,)), origin=(0.0, 0.0, 0.2))
    (case,) = load_dataset(DATASETS["wmh2017"], tmp_path / "wmh", ["t1"])
    assert case.labels is not None
    save(tmp_path / "own" / "a" / "t1.nii.gz", image())
    save(tmp_path / "own" / "a" / "labels.nii.gz", label_map((1,)), origin=(0.0, 0.0, 0.2))
    with pytest.raises(InputError, match=r"the origins are 0.2 mm apart"):
        load_dataset(DATASETS["wmh"], tmp_path / "own", ["t1"])
    save(tmp_path / "wmh" / "63" / "wmh.nii.gz", label_map((1,)), origin=(0.0, 0.0, 0.3))
    with pytest.raises(InputError, match=r"the origins are 0.3 mm apart"):
        load_dataset(DATASETS["wmh2017"], tmp_path / "wmh", ["t1"])


def test_what_is_no_label_is_not_said_to_be_cut_off(tmp_path):
    labels = np.zeros((48, 48, 48), np.uint8)
    labels[20:26, 20:26, 20:26], labels[20:26, 20:26, 26:29] = 1, 2
    place = {"spacing": (2, 2, 2), "origin": (-48, -65, -43)}  # around the middle of the brain frame
    for name in ("pre/T1", "pre/FLAIR"):
        save(tmp_path / "Utrecht" / "1" / f"{name}.nii.gz", image((48, 48, 48)), **place)
    save(tmp_path / "Utrecht" / "1" / "wmh.nii.gz", labels, **place)
    store = prepare_cases(DATASETS["wmh2017"], tmp_path, tmp_path / "store", shape=(64, 64, 64), align=False)
    (case,) = store.cases
    assert list(case.voxels) == ["1"]
    assert case.cut == 0


def test_a_folder_and_a_csv_of_ones_own(tmp_path):
    for name in ("anna", "bert"):
        save(tmp_path / "cases" / name / "flair.nii.gz", image())
        save(tmp_path / "cases" / name / "labels.nii.gz", label_map((1,)))
    table = tmp_path / "table.csv"
    table.write_text(
        "case,subject,flair,t1,labels\n"
        "a1,anna,cases/anna/flair.nii.gz,,cases/anna/labels.nii.gz\n"
        "b1,,cases/bert/flair.nii.gz,cases/bert/flair.nii.gz,cases/bert/labels.nii.gz\n"
    )
    assert [c.name for c in load_dataset(DATASETS["wmh"], tmp_path / "cases")] == ["anna", "bert"]
    cases = load_dataset(DATASETS["wmh"], table)
    assert [(c.name, c.subject, sorted(c.images)) for c in cases] == [
        ("a1", "anna", ["flair"]),
        ("b1", "b1", ["flair", "t1"]),
    ]
    with pytest.raises(InputError, match="a1: no image of t1"):
        load_dataset(DATASETS["wmh"], table, ["flair", "t1"])
    # what every case has becomes a channel
    assert DATASETS["wmh"].channels(cases) == ("flair",)
    assert DATASETS["wmh"].channels(cases[1:]) == ("t1", "flair")
    assert DATASETS["brats2021"].channels(cases) == ("t1", "t1gd", "t2", "flair")
    save(tmp_path / "cases" / "bert" / "t1.nii.gz", image(), (1, 1, 2))
    save(tmp_path / "cases" / "anna" / "t1.nii.gz", image())
    with pytest.raises(InputError, match="bert: images and labels are on different grids"):
        load_dataset(DATASETS["wmh"], tmp_path / "cases")


def test_one_error_lists_every_offender(tmp_path, capsys):
    brats_case(tmp_path, "BraTS2021_00001")
    missing = brats_case(tmp_path, "BraTS2021_00002")
    (missing / "BraTS2021_00002_t1ce.nii.gz").unlink()
    grids = brats_case(tmp_path, "BraTS2021_00003")
    save(grids / "BraTS2021_00003_t2.nii.gz", image(), (1, 1, 2))
    brats_case(tmp_path, "BraTS2021_00004", values=(1, 3))
    floats = brats_case(tmp_path, "BraTS2021_00005")
    save(floats / "BraTS2021_00005_seg.nii.gz", label_map((1, 2)) * np.float32(0.999))
    brats_case(tmp_path, "BraTS2021_00006", values=())
    brats_case(tmp_path / "again", "BraTS2021_00001")
    broken = brats_case(tmp_path, "BraTS2021_00007")
    (broken / "BraTS2021_00007_flair.nii.gz").write_bytes(b"not gzip")
    command = ["prepare", "finetune", "--data", str(tmp_path), "--dataset", "brats2021", "-o", str(tmp_path / "store")]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 3
    assert not (tmp_path / "store").exists()
    text = capsys.readouterr().err
    for part in (
        "7 problems in BraTS 2021:",
        "BraTS2021_00001: 2 cases have this name",
        "BraTS2021_00002: no image of t1gd",
        (
            "BraTS2021_00003: images and labels are on different grids "
            "(compared with t1, t2: voxels of 1x1x2 mm instead of 1x1x1 mm)"
        ),
        "BraTS2021_00004: labels contain 3; BraTS 2021 defines 0, 1, 2, 4",
        "not whole numbers",
        "BraTS2021_00006: the label map is empty",
        "readable header",
    ):
        assert part in text


def test_a_wrong_release_is_said(tmp_path):
    brats_case(tmp_path / "old", "BraTS2021_00001")
    with pytest.raises(InputError, match=r"no case of BraTS 2020; its case names match brats2021\.$"):
        load_dataset(DATASETS["brats2020"], tmp_path / "old")
    new_brats_case(tmp_path / "new", "BraTS-GLI-00001-000")
    with pytest.raises(InputError, match=r"no case of BraTS 2021; its case names match brats2023 or brats2024\.$"):
        load_dataset(DATASETS["brats2021"], tmp_path / "new")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"no case of BraTS 2021; check the data set name"):
        load_dataset(DATASETS["brats2021"], tmp_path / "none")
    post = new_brats_case(tmp_path / "post", "BraTS-GLI-00002-100", values=(1, 2, 3, 4))  # 4: resection cavity
    with pytest.raises(InputError, match=rf"{post.name}: labels contain 4; BraTS 2023 defines 0, 1, 2, 3"):
        load_dataset(DATASETS["brats2023"], tmp_path / "post")
    with pytest.raises(InputError, match=r"Unknown data set 'brats'.*brats2021"):
        dataset_by_name("brats")


def test_a_csv_is_checked_at_once(tmp_path):
    save(tmp_path / "a.nii.gz", image())
    table = tmp_path / "t.csv"
    table.write_text("case,flair,labels\na,a.nii.gz,gone.nii.gz\n,also.nii.gz,a.nii.gz\n")
    with pytest.raises(InputError, match=r"(?s)3 problems.*line 2.*gone.*line 3.*also.*line 3: no case name"):
        load_dataset(DATASETS["wmh"], table)
    save(tmp_path / "b.nii.gz", label_map((1,)))
    table.write_text("case,flair,labels\nsub-1/ses-1,a.nii.gz,b.nii.gz\n..,a.nii.gz,b.nii.gz\n")
    with pytest.raises(InputError, match=r"(?s)2 problems.*line 2: case name 'sub-1/ses-1' is not a valid.*line 3"):
        load_dataset(DATASETS["wmh"], table)
    table.write_text("case,t3\n")
    with pytest.raises(InputError, match="unknown columns t3"):
        load_dataset(DATASETS["wmh"], table)
    with pytest.raises(InputError, match="does not exist"):
        load_dataset(DATASETS["wmh"], tmp_path / "nowhere")
    with pytest.raises(InputError, match="no modality pet"):
        load_dataset(DATASETS["wmh"], tmp_path, ["pet"])


@pytest.mark.parametrize("name", DATASETS)
def test_conventions_lead_to_values_of_their_task(name):
    dataset = DATASETS[name]
    values = {label.value for label in TASKS[dataset.task].labels}
    assert set(dataset.values.values()) <= values | {0}
    assert set(dataset.modalities) <= {modality.key for modality in TASKS[dataset.task].modalities}
    with pytest.raises(InputError, match="labels contain 77"):
        dataset.to_task(np.full(SHAPE, 77))


def test_the_real_brats_cases_are_read(data_root):
    assert len(load_dataset(DATASETS["brats2021"], data_root / "brats")) == 6
