"""Trees of raw scans become stores: what is found, what is refused, and that work is never done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from asa.data.prepare import Preparation, prepare
from asa.data.scan_store import ScanRecord, ScanStore, quantise, read_scan_split, split_by_subject
from asa.data.scans import find_scans
from asa.data.stripping import AlreadyStripped, Command, MaskFile
from asa.errors import InputError, OutputError
from asa.geometry import Alignment

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-78, -110, -72)


def write_scan(path: Path, seed: int, brain: float = 0.55) -> Path:
    """A stripped ball of 4 mm voxels in MNI152 space; an empty file for a negative radius."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if brain < 0:
        path.write_bytes(b"")
        return path
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 48, 40)], indexing="ij")
    image = np.where(x**2 + y**2 + z**2 < brain, 100 + 50 * np.sin(5 * x) + rng.normal(0, 20, x.shape), 0)
    nib.save(nib.Nifti1Image(image.astype(np.float32), AFFINE), path)
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bids")
    for number in (1, 2):
        write_scan(root / f"sub-0{number}/ses-a/anat/sub-0{number}_ses-a_T1w.nii.gz", number)
    write_scan(root / "sub-03/anat/sub-03_T1w.nii.gz", 3, brain=-1)
    write_scan(root / "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz", 9)
    write_scan(root / "derivatives/x/sub-01/anat/sub-01_desc-norm_T1w.nii.gz", 9)
    return root


def preparation(tree: Path, out: Path, **changes) -> Preparation:
    settings = {"stripper": AlreadyStripped(), "shape": (128, 128, 128), "align": False}
    return Preparation(tree, out, **{**settings, **changes})


@pytest.fixture(scope="module")
def store(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("store")
    prepare(preparation(tree, out))
    return out


def test_store_holds_the_good_scans_and_names_the_bad_one(store):
    opened = ScanStore.open(store)
    assert [(s.name, s.subject, s.session) for s in opened.scans] == [
        ("sub-01_ses-a_T1w", "01", "a"),
        ("sub-02_ses-a_T1w", "02", "a"),
    ]
    array = opened.read(0)
    assert isinstance(array, np.memmap) and array.shape == (128, 128, 128) and array.dtype == np.uint8
    assert array.max() == 255 and 0.5 < (array > 0).mean() < 1
    failed = json.loads((store / "index.json").read_text())["failed"]
    assert [f["source"] for f in failed] == ["sub-03/anat/sub-03_T1w.nii.gz"]


def test_kept_box_is_the_middle_of_the_frame(store):
    assert ScanStore.open(store).origin == (16, 32, 16)
    mirrored = ScanStore.open(store).read(0)[..., ::-1] > 0
    assert (mirrored == (ScanStore.open(store).read(0) > 0)).mean() > 0.95, "a ball at x = 0 is its own mirror image"


def test_quality_sheet(store):
    page = (store / "quality" / "index.html").read_text()
    assert page.count("<img") == 2 and "sub-03_T1w.nii.gz" in page and "2 scans" in page
    assert (store / "quality" / "sub-01_ses-a_T1w.png").read_bytes().startswith(b"\x89PNG")


def test_goes_on_where_it_stopped(tree, store, tmp_path):
    shutil.copytree(store, tmp_path / "store")
    (tmp_path / "store/records/sub-02_ses-a_T1w.json").unlink()  # killed before this scan was whole
    said: list[str] = []
    prepare(preparation(tree, tmp_path / "store"), progress=lambda _done, _all, what: said.append(what))
    assert [what.split(":")[0] for what in said] == ["sub-02_ses-a_T1w", "sub-03_T1w"]
    assert len(ScanStore.open(tmp_path / "store").scans) == 2


def again(tree, out, **changes) -> list[str]:
    """What is said when a store is prepared again."""
    said: list[str] = []
    prepare(preparation(tree, out, **changes), progress=lambda _done, _all, what: said.append(what))
    return said


def test_a_scan_that_changed_is_prepared_again(tmp_path):
    path = write_scan(tmp_path / "tree/sub-1/anat/sub-1_T1w.nii.gz", 1)
    write_scan(tmp_path / "tree/sub-2/anat/sub-2_T1w.nii.gz", 2)
    again(tmp_path / "tree", tmp_path / "store")
    before = np.array(ScanStore.open(tmp_path / "store").read(0))
    path.touch()
    assert again(tmp_path / "tree", tmp_path / "store") == []
    write_scan(path, 5)
    (said,) = again(tmp_path / "tree", tmp_path / "store")
    assert said.startswith("sub-1_T1w: prepared again, because t1 changed; ")
    assert (ScanStore.open(tmp_path / "store").read(0) != before).any()
    (tmp_path / "store/volumes/sub-2_T1w.npy").write_bytes(b"")
    (said,) = again(tmp_path / "tree", tmp_path / "store")
    assert said.startswith("sub-2_T1w: prepared again, because its stored array is missing or damaged; ")


def test_a_mask_that_changed_is_noticed(tmp_path):
    scan = write_scan(tmp_path / "tree/sub-1_T1w.nii.gz", 1)
    mask, shown = tmp_path / "sub-1_T1w_mask.nii.gz", nib.load(scan).get_fdata() > 0
    nib.save(nib.Nifti1Image(shown.astype(np.uint8), AFFINE), mask)
    stripper = MaskFile(f"{tmp_path}/{{stem}}_mask.nii.gz")
    again(tmp_path / "tree", tmp_path / "store", stripper=stripper)
    shown[:20] = False
    nib.save(nib.Nifti1Image(shown.astype(np.uint8), AFFINE), mask)
    (said,) = again(tmp_path / "tree", tmp_path / "store", stripper=stripper)
    assert "prepared again, because mask changed" in said


def test_files_of_others_are_not_overwritten(tree, tmp_path):
    page = tmp_path / "quality" / "index.html"
    page.parent.mkdir()
    page.write_text("a page of one's own")
    with pytest.raises(OutputError, match=r"index\.html already exists"):
        prepare(preparation(tree, tmp_path))
    assert page.read_text() == "a page of one's own" and len(list(tmp_path.iterdir())) == 1


def test_other_settings_need_another_folder(tree, store):
    with pytest.raises(InputError, match="started with different settings"):
        prepare(preparation(tree, store, shape=(64, 64, 64)))


@pytest.mark.slow
def test_two_processes_make_the_same_store(tree, store, tmp_path):
    prepare(preparation(tree, tmp_path), jobs=2)
    assert (ScanStore.open(tmp_path).read(1) == ScanStore.open(store).read(1)).all()


def test_no_room(tree, tmp_path):
    (tmp_path / "out").write_text("a file where the store should be")
    with pytest.raises(OutputError):
        prepare(preparation(tree, tmp_path / "out"))


@pytest.mark.parametrize("shape", [(100, 128, 128), (128, 208, 128)])
def test_impossible_sizes(tree, tmp_path, shape):
    with pytest.raises(InputError, match="multiples of 16 within"):
        prepare(preparation(tree, tmp_path, shape=shape))


def test_names_of_the_archives(tmp_path):
    names = {
        "OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz": ("OAS30001", "d0129"),
        "ADNI/002_S_0295/MP-RAGE/2006-04-18_08_20_30.0/I118671/ADNI_MR_br_raw.nii": ("002_S_0295", "2006-04-18"),
        "ADNI/002_S_0413/Accelerated_SAG_IR-FSPGR/2017-06-21_13_23_38.0/I863056/x.nii.gz": ("002_S_0413", "2017-06-21"),
        "disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon.nii.gz": ("OAS1_0001", "MR1"),
        "OAS1_0002_MR2/mri/T1.mgz": ("OAS1_0002", "MR2"),
    }
    day = "2006-04-18_08"
    others = (f"ADNI/002_S_0295/Axial_T2/{day}/I1/y.nii", f"ADNI/002_S_0295/MPRAGE_mask/{day}/I1/mask.nii")
    for number, name in enumerate((*names, *others)):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]))
    found, left_out = find_scans(tmp_path)
    assert {s.path.as_posix(): (s.subject, s.session) for s in found} == names
    assert not left_out and len({s.name for s in found}) == len(names)


def test_a_scan_listed_twice_is_taken_once(tmp_path):
    first = write_scan(tmp_path / "sub-1/anat/sub-1_T1w.nii", 1)
    (tmp_path / "sub-2/anat").mkdir(parents=True)
    shutil.copy(first, tmp_path / "sub-2/anat/sub-2_T1w.nii")
    write_scan(tmp_path / "sub-1/anat/sub-1_T1w.nii.gz", 1)
    found, left_out = find_scans(tmp_path)
    assert [s.name for s in found] == ["sub-1_T1w"]
    assert len(left_out) == 2 and all("listed twice" in reason for reason in left_out.values())


def test_an_empty_tree(tmp_path):
    with pytest.raises(InputError, match="contains no T1-weighted scan"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_scans(tmp_path / "missing")


IDENTITY = Alignment(np.eye(4), "identity", 1.0)


def test_masks_made_before(tmp_path):
    scan = write_scan(tmp_path / "sub-1_T1w.nii.gz", 1)
    image = nib.load(scan)
    nib.save(nib.Nifti1Image((image.get_fdata() > 0).astype(np.uint8), AFFINE), tmp_path / "sub-1_T1w_mask.nii.gz")
    mask = MaskFile("{folder}/{stem}_mask.nii.gz")(scan, None, IDENTITY)
    assert mask.shape == (160, 192, 160) and 0.1 < mask.mean() < 0.6
    with pytest.raises(InputError):
        MaskFile("{folder}/{stem}_brain.nii.gz")(scan, None, IDENTITY)


def test_another_tool(tmp_path):
    scan = write_scan(tmp_path / "sub 1_T1w.nii.gz", 1)
    mask = tmp_path / "its mask.nii.gz"
    nib.save(nib.Nifti1Image((nib.load(scan).get_fdata() > 0).astype(np.uint8), AFFINE), mask)
    assert Command(f"cp '{mask}' {{mask}}")(scan, None, IDENTITY).any()
    with pytest.raises(InputError, match="'false' could not skull-strip sub 1_T1w"):
        Command("false {input} {mask}")(scan, None, IDENTITY)
    with pytest.raises(InputError, match="'no-such-tool' could not skull-strip"):
        Command("no-such-tool {input} {mask}")(scan, None, IDENTITY)


def test_quantise():
    image = np.linspace(10, 20, 1000, dtype=np.float32).reshape(10, 10, 10)
    brain = image > 15
    stored = quantise(image, brain)
    assert not stored[~brain].any() and stored[brain].min() == 1 and stored[brain].max() == 255
    with pytest.raises(InputError, match=r"(?i)no brain"):
        quantise(image, np.zeros_like(brain))
    with pytest.raises(InputError, match="constant intensity"):
        quantise(np.ones_like(image), brain)


def records(subjects: str) -> list[ScanRecord]:
    return [ScanRecord(f"scan{i}", s, "", "", 1.0, 1.0, 1.0, 0.0, 0.0) for i, s in enumerate(subjects)]


def test_sessions_stay_together():
    scans = records("aabbbcddee")
    train, held_out = split_by_subject(scans, 0.4, seed=0)
    assert sorted(train + held_out) == list(range(10)) and held_out
    assert not {scans[i].subject for i in train} & {scans[i].subject for i in held_out}
    assert split_by_subject(scans, 0.4, seed=0) == (train, held_out)
    assert split_by_subject(scans, 0, seed=0) == (list(range(10)), [])
    assert split_by_subject(records("aaa"), 0.5, seed=0) == ([0, 1, 2], []), "one subject cannot be split"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ["scan0", "scan2"], "held_out": ["scan1"]}, "sessions of the same subject in both parts: a"),
        ({"train": ["scan0", "scan9"], "held_out": []}, "not in the store: scan9"),
        ({"train": ["scan0"], "held_out": ["scan0"]}, "lists a scan twice"),
        ({"train": ["scan0"]}, "needs the lists"),
    ],
)
def test_bad_splits(tmp_path, lists, message):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(lists))
    with pytest.raises(InputError, match=message):
        read_scan_split(path, records("aab"))


def test_a_good_split(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["scan0", "scan1"], "held_out": ["scan2"]}))
    assert read_scan_split(path, records("aab")) == ([0, 1], [2])


def test_damaged_stores(store, tmp_path):
    with pytest.raises(InputError, match="is not a scan store"):
        ScanStore.open(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    opened = ScanStore.open(copy)
    (copy / "volumes/sub-02_ses-a_T1w.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="Scan 'sub-02_ses-a_T1w' of the store can no longer be read"):
        opened.read(1)
    index = json.loads((copy / "index.json").read_text())
    for change, message in (
        ({"scans": index["scans"] * 2}, "lists a scan twice"),
        ({"scans": []}, "contains no scans"),
        ({"format": 99}, "newer version"),
    ):
        (copy / "index.json").write_text(json.dumps({**index, **change}))
        with pytest.raises(InputError, match=message):
            ScanStore.open(copy)
