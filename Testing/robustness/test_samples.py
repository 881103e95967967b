"""The images that robustness is measured on are what they are called."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from Testing.benchmarks.heads import Head
from Testing.robustness.not_heads import NOT_HEADS, brain_labels
from Testing.robustness.recognition import HEADER, REFUSED, outcome, write
from Testing.robustness.trust import INCOMPLETE, TWINS, ordered
from Testing.robustness.trust import write as write_trust

from asa.volume import Grid, Volume


def test_there_are_forty_images_that_show_no_head_and_each_is_the_same_again() -> None:
    assert len(NOT_HEADS) >= 40 and len({kind for kind, _ in NOT_HEADS.values()}) == 6
    for name in ("smooth_field", "rack_of_tubes", "parcellation"):
        draw = NOT_HEADS[name][1]
        assert np.array_equal(np.asarray(draw().dataobj), np.asarray(draw().dataobj))
    assert set(np.unique(brain_labels())) == set(range(7))


@pytest.mark.parametrize("name", [name for name, (kind, _) in NOT_HEADS.items() if kind in ("label map", "slices")])
def test_label_maps_and_slices_are_refused_before_anything_is_computed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "slice_repeated":
        pytest.skip("is a volume, which registration has to tell from a head")
    monkeypatch.setattr("Testing.robustness.recognition.place_series", lambda *_, **__: pytest.fail("was read"))
    nib.save(NOT_HEADS[name][1](), tmp_path / f"{name}.nii.gz")
    what, reason = outcome(tmp_path / f"{name}.nii.gz", "t1", whole=False)
    assert what == REFUSED and reason.endswith(".") and "Unexpected" not in reason


def test_a_scan_along_which_the_fit_cannot_move_is_refused(tmp_path: Path) -> None:
    """Rows of equal tubes: some start values reach nothing but air, where no direction is better than another."""
    nib.save(NOT_HEADS["rack_of_tubes"][1](), tmp_path / "rack.nii.gz")
    assert outcome(tmp_path / "rack.nii.gz", "t1", whole=False)[0] != "accepted"


def test_the_tables_count_what_was_found(tmp_path: Path) -> None:
    write([["noise", "air", "", REFUSED, "No brain."], ["t1", "sub-01", "t1", "accepted", ""]], tmp_path)
    assert (tmp_path / "recognition.csv").read_text().splitlines()[0] == ",".join(HEADER)
    assert "| noise | air | refused | No brain. |" in (tmp_path / "recognition.md").read_text()
    rows = [["a", "b", "motion", "0.900", "doubtful", "x"], ["a", "b", "as it is", "0.910", "ok", ""]]
    write_trust(rows, tmp_path)
    assert "| above 0.85 | 2 | 1 | 50% |" in (tmp_path / "trust.md").read_text()


def test_twins_keep_image_and_labels_on_one_grid() -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((24, 26, 22), np.float32)
    array[5:19, 5:21, 5:17] = rng.uniform(100, 200, (14, 16, 12))
    labels = np.digitize(array, [1, 130, 170]).astype(np.uint8)
    affine = np.array([[0, 0, 2, -22], [0, 2, 0, -26], [2, 0, 0, -24], [0, 0, 0, 1.0]])
    pair = (Volume(array, Grid(array.shape, affine)), Volume(labels, Grid(array.shape, affine)))
    for name, twin in TWINS.items():
        image, reference = twin(pair)
        # the reference is of the whole brain, where the image was cut
        begin = tuple(slice(size) for size in image.array.shape)
        assert Volume(reference.array[begin], Grid(image.array.shape, reference.grid.affine)).grid.same_as(image.grid)
        assert image.array.shape == reference.array.shape or name in INCOMPLETE, name
        assert image.array.any() and reference.array.any(), name
    heads = [Head("x", str(number), Path(), Path()) for number in range(3)]
    assert len(set(ordered(heads))) == 3 * len(TWINS)
    assert {twin for _, twin in ordered(heads)[: len(TWINS)]} == set(TWINS)
