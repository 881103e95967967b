"""A correction from files to a finished folder: a result of `asa segment`, or a segmentation alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from Testing.engine.refined_heads import MISSED, Head, tumour_head

from asa import cli
from asa.errors import InputError, OutputError
from asa.inference import placement
from asa.jobs import segment as job
from asa.jobs.refine import RefineRequest, refine
from asa.refinement import Mark, MarkSet
from asa.refinement.segments import read_segmentation
from asa.request import SegmentRequest
from asa.volume import Volume, read_volume, write_volume

Write = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("no_segmentation_file")


LEFT_HANDED = np.diag([-4.0, 4.0, 6.0, 1.0])
TILT = np.array([[0.96, 0.0, 0.28, 0.0], [0.0, 1.0, 0.0, 0.0], [-0.28, 0.0, 0.96, 0.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A left-handed, anisotropic head: a bright half and a dark one."""
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    data[12:] += 60
    data[:3] = 0
    path = tmp_path / "t1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, LEFT_HANDED), path)
    return path


@pytest.fixture
def result(fake: ModuleType, image: Path, tmp_path: Path) -> Path:
    """A result folder with probabilities."""
    request = SegmentRequest(images={"t1": image}, posterior=True)
    return job.run(request, tmp_path / "result", segmentation_file=False).folder


@pytest.fixture
def marks(tmp_path: Path) -> Write:
    def write(*made: Mark, locked: tuple[str, ...] = (), name: str = "some marks.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(MarkSet(made, locked).to_json()), encoding="utf-8")
        return path

    return write


def point(*place: float, segment: str = "GM", action: str = "add") -> Mark:
    return Mark("point", segment, action, (tuple(map(float, place)),))  # type: ignore[arg-type]


PLACE = (-40.0, 56.0, 48.0)  # voxel (10, 14, 8) of the file


def values(folder: Path) -> np.ndarray:
    return np.asarray(nibabel.load(folder / "segmentation.nii.gz").dataobj)


def test_a_result_is_corrected(result: Path, image: Path, marks: Write, tmp_path: Path) -> None:
    before = values(result)
    segment = "WM" if before[10, 14, 8] != 3 else "GM"
    request = RefineRequest(result, marks(point(*PLACE, segment=segment)), {"t1": image})
    seen: list[float] = []
    done = refine(request, tmp_path / "out", segmentation_file=False, progress=lambda _stage, part: seen.append(part))
    after = values(done.folder)
    assert after[10, 14, 8] == (3 if segment == "WM" else 2)
    assert 0 < np.count_nonzero(after != before) < before.size / 4
    assert seen == sorted(seen) and seen[-1] == 1
    names = {path.name for path in done.folder.iterdir()}
    assert names >= {"marks.json", "posterior_GM.nii.gz", "volumes.csv", "overlay.png", "report.json"}
    assert names == {*done.report["files"], "report.json"}
    assert done.report["trust"]["verdict"] == "doubtful" and "Corrected by 1 mark of a user." in done.warnings
    assert done.report["model"]["name"] == "fake"
    scan, labels = nibabel.load(image), nibabel.load(done.folder / "segmentation.nii.gz")
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    assert refine(request, tmp_path / "out", segmentation_file=False).reused
    again = RefineRequest(done.folder, marks(point(*PLACE, segment=segment), name="b.json"), {"t1": image})
    assert (values(refine(again, tmp_path / "twice", segmentation_file=False).folder) == after).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_mark_on_an_oblique_grid(
    fake: ModuleType, image: Path, marks: Write, tmp_path: Path, order: tuple[int, int, int]
) -> None:
    """Left-handed, and with its axes stored in another order: the same place in mm is the same voxel."""
    scan = nibabel.load(image)
    affine = TILT @ LEFT_HANDED
    affine[:, :3] = affine[:, order]
    path = tmp_path / "oblique.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan.get_fdata(dtype=np.float32).transpose(order), affine), path)
    start = job.run(SegmentRequest(images={"t1": path}, posterior=True), tmp_path / "start", segmentation_file=False)
    voxel = tuple(np.array((10, 14, 8))[list(order)])
    segment = "WM" if values(start.folder)[voxel] != 3 else "GM"
    place = (affine @ (*voxel, 1))[:3]
    request = RefineRequest(start.folder, marks(point(*place, segment=segment)), {"t1": path})
    done = refine(request, tmp_path / "out", segmentation_file=False)
    assert values(done.folder)[voxel] == (3 if segment == "WM" else 2)
    np.testing.assert_allclose(nibabel.load(done.folder / "segmentation.nii.gz").affine, affine, atol=1e-5)


def test_hand_edits_stay(result: Path, image: Path, marks: Write, tmp_path: Path) -> None:
    labels = read_volume(result / "segmentation.nii.gz", labels=True)
    edited = labels.array.copy()
    edited[:, :, :8] = 3
    write_volume(labels.with_array(edited), tmp_path / "edited.nii.gz")
    request = RefineRequest(result, marks(point(*PLACE)), {"t1": image}, edited=tmp_path / "edited.nii.gz")
    done = refine(request, tmp_path / "out", segmentation_file=False)
    after = read_volume(done.folder / "segmentation.nii.gz", labels=True).array
    changed = edited != labels.array
    assert (after[changed] == 3).all()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "report.json").unlink(), "is not a segmentation result"),
        (lambda folder: (folder / "report.json").write_text("{}"), "is damaged"),
        (lambda folder: (folder / "posterior_GM.nii.gz").unlink(), "lacks posterior_GM.nii.gz"),
        (
            lambda folder: shutil.copy(folder / "posterior_WM.nii.gz", folder / "posterior_GM.nii.gz"),
            "has been changed since it was written",
        ),
        (
            lambda folder: shutil.copy(folder / "posterior_WM.nii.gz", folder / "segmentation.nii.gz"),
            "give the changed segmentation with --edited",
        ),
    ],
)
def test_a_damaged_result_is_refused(
    result: Path, image: Path, marks: Write, tmp_path: Path, spoil: Callable[[Path], Any], words: str
) -> None:
    spoil(result)
    with pytest.raises(InputError, match=words):
        refine(RefineRequest(result, marks(point(*PLACE)), {"t1": image}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_does_not_belong_together_is_refused(result: Path, image: Path, marks: Write, tmp_path: Path) -> None:
    other = tmp_path / "other.nii.gz"
    scan = nibabel.load(image)
    nibabel.save(nibabel.Nifti1Image(scan.get_fdata()[::-1].astype(np.float32), scan.affine), other)
    good = marks(point(*PLACE))
    for request, words in (
        (RefineRequest(result, good, {"t1": other}), "probabilities belong to another scan"),
        (RefineRequest(result, good, {"t2": image}), "is not the T2 image"),
        (RefineRequest(result, good, {}), "Give the images"),
        (RefineRequest(result, good, {"pet": image}), "takes t1, t1gd, t2, flair images"),
        (RefineRequest(result, good, {"t1": image}, task="wmh"), "is a result of task 'tissue'"),
        (RefineRequest(result / "segmentation.nii.gz", good, {"t1": image}), "add --task"),
        (RefineRequest(result, tmp_path / "none.json", {"t1": image}), "none.json cannot be read"),
        (RefineRequest(result, marks(point(*PLACE, segment="WT"), name="a.json"), {"t1": image}), "segment 'WT'"),
        (RefineRequest(result, marks(point(0, 0, 900), name="b.json"), {"t1": image}), "outside the image"),
        (RefineRequest(result, marks(point(*PLACE), locked=("XX",), name="c.json"), {"t1": image}), "'XX'"),
    ):
        with pytest.raises(InputError, match=words):
            refine(request, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="would overwrite the input"):
        refine(RefineRequest(result, good, {"t1": image}), result)


def write_segments(path: Path, head: Head) -> None:
    """A .seg.nrrd as 3D Slicer writes overlapping segments: layers, cropped."""
    array = head.start.labels.array
    cut = (slice(8, 34), slice(10, 36), slice(4, 40))
    layers = np.stack([np.isin(array[cut], (1, 2, 3)), np.isin(array[cut], (1, 3))], axis=-1).astype(np.uint8)
    picture = sitk.GetImageFromArray(layers, isVector=True)
    corner = head.start.labels.grid.to_world([one.start for one in cut])
    picture.SetOrigin([-corner[0], -corner[1], corner[2]])
    picture.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    for number, (name, title) in enumerate((("WT", "Whole tumour"), ("Segment_7", "Tumour core"))):
        for key, value in (("ID", name), ("Name", title), ("Layer", str(number)), ("LabelValue", "1")):
            picture.SetMetaData(f"Segment{number}_{key}", value)
    sitk.WriteImage(picture, str(path))


def test_segments_on_layers_are_read(tmp_path: Path) -> None:
    head = tumour_head()
    write_segments(tmp_path / "some.seg.nrrd", head)
    found = read_segmentation(tmp_path / "some.seg.nrrd", head.start.task, head.start.images[0])
    np.testing.assert_array_equal(found.array, head.start.labels.array)
    (tmp_path / "bad.seg.nrrd").write_text("NRRD0004\n")
    with pytest.raises(InputError, match="cannot be read as segments"):
        read_segmentation(tmp_path / "bad.seg.nrrd", head.start.task, head.start.images[0])
    plain = sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8))
    sitk.WriteImage(plain, str(tmp_path / "none.seg.nrrd"))
    with pytest.raises(InputError, match="holds no segment of task 'tumour'"):
        read_segmentation(tmp_path / "none.seg.nrrd", head.start.task, head.start.images[0])


def test_a_segmentation_alone_is_corrected(marks: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = tumour_head(spacing=3.0)
    paths = {}
    for key, image in zip(("t1gd", "flair"), head.start.images, strict=True):
        paths[key] = tmp_path / f"{key}.nii.gz"
        write_volume(Volume(image.array, head.start.labels.grid), paths[key])
    write_volume(head.start.labels, tmp_path / "labels.nii.gz")
    there = tuple(float(one) for one in head.start.labels.grid.to_world(MISSED))
    monkeypatch.setattr(
        placement, "place_series", lambda scans, align: placement.Placement(  # the phantom has no anatomy to register
            {key: placement.Series(scan, placement.UNALIGNED, stripped=True) for key, scan in scans.items()}, "t1gd"
        ),
    )  # fmt: skip
    request = RefineRequest(tmp_path / "labels.nii.gz", marks(point(*there, segment="WT")), paths, task="tumour")
    done = refine(request, tmp_path / "out", segmentation_file=False)
    after = read_volume(done.folder / "segmentation.nii.gz", labels=True).array
    assert after[MISSED] == 2
    assert any("intensities only" in warning for warning in done.warnings)
    assert not list(done.folder.glob("posterior*")) and done.report["model"]["name"] is None


def test_the_command_and_the_script(
    result: Path, image: Path, marks: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    path = marks(point(*PLACE))
    words = [str(result), "--marks", str(path), "--t1", str(image)]
    with pytest.raises(SystemExit) as left:
        cli.main(["refine", *words, "-o", str(tmp_path / "one")])
    assert not left.value.code
    assert "GM" in capsys.readouterr().out
    sys.path.insert(0, str(repository / "Resources" / "Scripts"))
    try:
        import refine_marks
    finally:
        sys.path.pop(0)
    assert refine_marks.main([*words, "--output", str(tmp_path / "two")]) == 0
    assert (values(tmp_path / "one") == values(tmp_path / "two")).all()
    assert refine_marks.main([*words[:-1], str(path), "--output", str(tmp_path / "three")]) == 3
    assert "is not the T1 image" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()
