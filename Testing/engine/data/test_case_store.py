"""What a store of cases holds."""

from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from Testing.engine.labelled_files import tumour_head

from asa.data.case_store import prepare_cases
from asa.data.datasets import DATASETS
from asa.errors import InputError, OutputError

SHAPE = (32, 64, 32)


def test_what_is_kept_of_a_head_does_not_change_its_intensities(tmp_path):
    """At use a head is normalised over the whole frame; a store of its middle must hold the same numbers."""
    tumour_head(tmp_path / "brats", "BraTS2021_00000", 0)
    brats = DATASETS["brats2021"]
    whole = prepare_cases(brats, tmp_path / "brats", tmp_path / "whole", align=False)
    part = prepare_cases(brats, tmp_path / "brats", tmp_path / "part", shape=SHAPE, align=False)
    box = tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(whole.shape, SHAPE, strict=True))
    assert np.array_equal(whole.read(0)[0][(slice(None), *box)], part.read(0)[0])


@pytest.fixture
def heads(tmp_path):
    """Two cases on disk."""
    for seed in range(2):
        tumour_head(tmp_path / "brats", f"BraTS2021_0000{seed}", seed)
    return tmp_path / "brats"


def prepared(heads, folder):
    """What is said of each case, and the labels of the first."""
    said = []
    store = prepare_cases(
        DATASETS["brats2021"],
        heads,
        folder,
        shape=(32, 32, 32),
        align=False,
        progress=lambda _done, _all, what: said.append(what),
    )
    return said, store.read(0)


def rewrite(path, change):
    """Change the voxels of an image on disk; size and time of the file stay what they were."""
    status, image = path.stat(), nib.load(path)
    array = change(np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(array.astype(image.get_data_dtype()), image.affine), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(("part", "what"), [("seg", "labels"), ("t1", "t1"), ("flair", "flair")])
def test_a_case_that_changed_is_prepared_again(heads, tmp_path, part, what):
    said, (image, labels) = prepared(heads, tmp_path / "store")
    image, labels = np.array(image), np.array(labels)
    assert said == ["BraTS2021_00000", "BraTS2021_00001"]
    path = heads / "BraTS2021_00000" / f"BraTS2021_00000_{part}.nii.gz"
    rewrite(path, lambda array: np.where(array == 2, 4, array) if part == "seg" else array[::-1])
    said, (new_image, new_labels) = prepared(heads, tmp_path / "store")
    assert said == [f"BraTS2021_00000: prepared again, because {what} changed", "BraTS2021_00001"]
    assert (labels != new_labels).any() if part == "seg" else (image != new_image).any()
    assert prepared(heads, tmp_path / "store")[0] == ["BraTS2021_00000", "BraTS2021_00001"]


def test_a_case_that_was_only_touched_or_moved_stays(heads, tmp_path):
    prepared(heads, tmp_path / "store")
    array = tmp_path / "store" / "images" / "BraTS2021_00000.npy"
    before = array.stat().st_mtime_ns
    for path in heads.rglob("*.nii.gz"):
        path.touch()
    shutil.copytree(heads, tmp_path / "copy")
    assert prepared(tmp_path / "copy", tmp_path / "store")[0] == ["BraTS2021_00000", "BraTS2021_00001"]
    assert array.stat().st_mtime_ns == before


def test_a_store_without_checksums_is_kept_unless_a_file_is_younger(heads, tmp_path):
    prepared(heads, tmp_path / "store")
    for record in (tmp_path / "store" / "records").iterdir():
        values = json.loads(record.read_text())
        del values["sources"]
        record.write_text(json.dumps(values))
    assert "prepared again" not in " ".join(prepared(heads, tmp_path / "store")[0])
    assert "sources" in json.loads(record.read_text()), "from now on it is known"
    rewrite(heads / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz", lambda array: np.where(array == 2, 4, array))
    assert "BraTS2021_00001: prepared again" in prepared(heads, tmp_path / "store")[0][1]


@pytest.mark.parametrize("kind", ["images", "labels", "foreground", "records"])
@pytest.mark.parametrize("damage", ["emptied", "cut"])
def test_a_damaged_case_is_prepared_again(heads, tmp_path, kind, damage):
    prepared(heads, tmp_path / "store")
    (path,) = (tmp_path / "store" / kind).glob("BraTS2021_00000.*")
    path.write_bytes(b"" if damage == "emptied" else path.read_bytes()[:-4])
    said, (image, labels) = prepared(heads, tmp_path / "store")
    assert "prepared again, because its" in said[0] and said[1] == "BraTS2021_00001"
    assert image.any() and labels.any()


def test_a_scan_that_is_gone_is_in_the_store_no_more(heads, tmp_path):
    prepared(heads, tmp_path / "store")
    (heads / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="BraTS2021_00000"):
        prepared(heads, tmp_path / "store")


def test_files_of_others_are_not_overwritten(heads, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index.json").write_text("a list of one's own")
    with pytest.raises(OutputError, match=r"index\.json already exists"):
        prepared(heads, tmp_path / "store")
    assert (tmp_path / "store" / "index.json").read_text() == "a list of one's own"
    assert len(list((tmp_path / "store").iterdir())) == 1
    (tmp_path / "store" / "settings.json").write_text("settings of one's own")
    with pytest.raises(InputError, match=r"settings\.json cannot be read"):
        prepared(heads, tmp_path / "store")
