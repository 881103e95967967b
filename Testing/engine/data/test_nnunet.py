"""Raw data of nnU-Net as labelled cases; what is broken is named in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from Testing.engine.labelled_files import image, label_map, save

from asa.data.cases import load_dataset
from asa.data.datasets import dataset_by_name
from asa.errors import InputError

VERSION2 = {
    "channel_names": {"0": "FLAIR", "1": "T1w"},
    "labels": {"background": 0, "WMH": 1},
    "file_ending": ".nii.gz",
}
VERSION1 = {"modality": {"0": "FLAIR", "1": "T1"}, "labels": {"0": "background", "1": "lesion"}}


def raw_data(root, description=VERSION2, cases=("a_1", "b_2"), values=(1,)):
    for name in cases:
        for channel in range(2):
            save(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", image())
        save(root / "labelsTr" / f"{name}.nii.gz", label_map(values))
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.mark.parametrize("description", [VERSION1, VERSION2])
def test_cases_are_found_with_their_channels_by_name(tmp_path, description):
    cases = load_dataset(dataset_by_name("nnunet-wmh"), raw_data(tmp_path, description))
    assert [case.name for case in cases] == ["a_1", "b_2"]
    assert {key: path.name for key, path in cases[0].images.items()} == {
        "flair": "a_1_0000.nii.gz",
        "t1": "a_1_0001.nii.gz",
    }
    assert cases[0].labels.name == "a_1.nii.gz"


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (None, "dataset.json cannot be read: it is missing"),
        ("{", "dataset.json cannot be read: it is not valid JSON"),
        ([], "contains no JSON object"),
        ({"labels": {}}, "names no channels"),
        ({**VERSION2, "channel_names": {"0": "FLAIR", "2": "T1"}}, "numbers its channels 0, 2; they must be 0 to 1"),
        ({**VERSION2, "channel_names": {"0": "CT"}}, "not a known modality: CT"),
        ({**VERSION2, "channel_names": {"0": "T1", "1": "T1w"}}, "two channels of one modality"),
        ({"channel_names": {"0": "FLAIR"}}, "names no labels"),
        ({**VERSION2, "labels": {"WMH": 1.5}}, r"not integers: WMH: 1\.5"),
        ({**VERSION2, "labels": {"WMH": "one"}}, 'not integers: WMH: "one"'),
        ({**VERSION2, "labels": {"whole": [1, 2]}}, r"not integers: whole: \[1, 2\]"),
        ({**VERSION2, "labels": {"WMH": True}}, "not integers: WMH: true"),
        (
            {**VERSION2, "labels": {"background": 0, "WMH": 2}},
            "the labels 2 WMH; task 'wmh' has 1 White-matter lesions",
        ),
    ],
)
def test_a_broken_description_is_one_sentence(tmp_path, description, said):
    raw_data(tmp_path)
    path = tmp_path / "dataset.json"
    path.unlink() if description is None else path.write_text(
        description if isinstance(description, str) else json.dumps(description)
    )
    with pytest.raises(InputError, match=said) as refusal:
        load_dataset(dataset_by_name("nnunet-wmh"), tmp_path)
    assert "\n" not in str(refusal.value)


def test_labels_in_another_order_are_refused(tmp_path):
    labels = {"background": 0, "oedema": 1, "necrotic core": 2, "enhancing tumour": 3}
    channels = {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": channels, "labels": labels}))
    with pytest.raises(InputError, match="the labels 1 oedema, 2 necrotic core; task 'tumour' has 1 Necrotic core"):
        dataset_by_name("nnunet-tumour").find(tmp_path)


def test_unpaired_channels_and_label_maps_are_all_listed(tmp_path):
    raw_data(tmp_path, cases=("a", "b", "c"))
    (tmp_path / "imagesTr" / "a_0001.nii.gz").unlink()
    (tmp_path / "labelsTr" / "b.nii.gz").unlink()
    for channel in range(2):
        (tmp_path / "imagesTr" / f"c_{channel:04d}.nii.gz").unlink()
    save(tmp_path / "imagesTr" / "d.nii.gz", image())
    save(tmp_path / "imagesTr" / "e_0002.nii.gz", image())
    with pytest.raises(InputError) as refusal:
        load_dataset(dataset_by_name("nnunet-wmh"), tmp_path)
    for part in (
        "5 problems",
        "a: no image a_0001 (t1)",
        "b: no label map in labelsTr",
        "c: no image c_0000 (flair), c_0001 (t1)",
        "imagesTr/d.nii.gz: not CASE_0000 to CASE_0001",
        "imagesTr/e_0002.nii.gz: not CASE_0000 to CASE_0001",
    ):
        assert part in str(refusal.value)


def test_label_maps_that_are_not_integers_or_unknown_are_refused(tmp_path):
    raw_data(tmp_path)
    save(tmp_path / "labelsTr" / "a_1.nii.gz", label_map((1,)).astype(np.float32) / 2)
    save(tmp_path / "labelsTr" / "b_2.nii.gz", label_map((1, 7)))
    with pytest.raises(InputError, match=r"(?s)a_1: .*not whole numbers.*b_2: labels contain 7"):
        load_dataset(dataset_by_name("nnunet-wmh"), tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(VERSION2))
    with pytest.raises(InputError, match="imagesTr does not exist"):
        load_dataset(dataset_by_name("nnunet-wmh"), tmp_path)
