"""asa inspect beyond its picture: masks of all kinds, attention, several checkpoints, what it tells a program."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from Testing.engine import tiny_pretraining as tiny

from asa.cli import main
from asa.data.stripping import AlreadyStripped
from asa.errors import InputError, ModelError, OutputError
from asa.inspection import framed
from asa.inspection.inspect import Inspection, inspect

SCHEDULE = {"log_every": 1, "checkpoint_every": 0, "validate_every": 0, "keep_every": 2}
CHANGES = {"epochs": 4, "warmup_epochs": 0, "held_out": 0, "schedule": SCHEDULE}
PATCH = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    settings = tiny.settings(tiny.make_store(folder / "store", edge=32), **CHANGES)
    settings["encoder"]["patch"] = PATCH
    assert tiny.run(settings, folder / "run") == "finished"
    return folder / "run"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A stripped ball in MNI152 space, stored left-handed and with the axes in another order."""
    affine = np.array([[0, 0, -3.0, 78.4], [3, 0, 0, -95.3], [0, 3, 0, -65.2], [0, 0, 0, 1]])
    assert np.linalg.det(affine) < 0
    y, z, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (48, 44, 52)], indexing="ij")
    image = np.where(x**2 + y**2 + z**2 < 0.6, 100 + 40 * np.sin(9 * x) + 30 * np.cos(7 * z), 0)
    path = tmp_path_factory.mktemp("scan") / "T1.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
    return path


def look(run, scan, folder, **changes):
    models = changes.pop("models", (run,))
    return inspect(Inspection(models, scan, AlreadyStripped(), align=False, pictures=False, **changes), folder)


def test_checkpoints_are_kept(run):
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["last.safetensors", "step_000002.safetensors", "step_000004.safetensors"]


def test_patches_lie_where_their_matrix_says(run, scan, tmp_path):
    """Through the affine, at every voxel: number of the patch, and whether it is hidden."""
    shown = look(run, scan, tmp_path)
    summary = json.loads((tmp_path / "inspect.json").read_text())
    image = nib.load(tmp_path / "patches.nii.gz")
    numbers = np.asarray(image.dataobj)
    voxels = np.argwhere(numbers > 0)
    to_patch = np.linalg.inv(summary["patches_to_ras"]) @ image.affine
    found = voxels @ to_patch[:3, :3].T + to_patch[:3, 3]
    inner = (np.abs(found - np.rint(found)) < 0.44).all(1)  # a voxel of the frame away from a border
    grid = tuple(summary["grid"])
    t, h, w = np.rint(found[inner]).astype(int).T
    assert inner.mean() > 0.6
    assert np.array_equal(numbers[tuple(voxels[inner].T)], np.ravel_multi_index((t, h, w), grid) + 1)
    assert summary["patch"] == PATCH
    hidden = shown.hidden[::PATCH, ::PATCH, ::PATCH]
    in_scan = np.asarray(nib.load(tmp_path / "hidden.nii.gz").dataobj)
    assert np.array_equal(in_scan[numbers > 0], hidden.ravel()[numbers[numbers > 0] - 1])


def test_a_drawn_mask_hides_what_it_marks(run, scan, tmp_path):
    look(run, scan, tmp_path)
    image = nib.load(tmp_path / "patches.nii.gz")
    numbers = np.asarray(image.dataobj)
    wanted = np.unique(numbers[numbers > 0])[::3]
    drawn = np.isin(numbers, wanted).astype(np.uint8)
    nib.save(nib.Nifti1Image(drawn, image.affine), tmp_path / "drawn.nii.gz")
    shown = look(run, scan, tmp_path / "again", mask=tmp_path / "drawn.nii.gz")
    hidden = shown.hidden[::PATCH, ::PATCH, ::PATCH].ravel()
    assert sorted(np.flatnonzero(hidden) + 1) == sorted(wanted)
    assert shown.error[shown.hidden > 0].any() and not shown.error[shown.hidden == 0].any()

    nib.save(nib.Nifti1Image(np.zeros_like(drawn), image.affine), tmp_path / "none.nii.gz")
    shown = look(run, scan, tmp_path / "none", mask=tmp_path / "none.nii.gz")
    assert not shown.hidden.any() and np.array_equal(shown.image, shown.reconstruction)
    assert json.loads((tmp_path / "none/inspect.json").read_text())["mse_hidden"] is None
    nib.save(nib.Nifti1Image(np.ones_like(drawn), image.affine), tmp_path / "all.nii.gz")
    with pytest.raises(InputError, match="hides every patch"):
        look(run, scan, tmp_path / "all", mask=tmp_path / "all.nii.gz")


def test_ratio_and_brain(run, scan, tmp_path):
    assert look(run, scan, tmp_path, ratio=0.5).hidden.mean() == 0.5
    shown = look(run, scan, tmp_path, ratio=0.5, brain_only=True)
    air = shown.image.min()
    hidden = shown.hidden[::PATCH, ::PATCH, ::PATCH] > 0
    brain = (shown.image.reshape(4, PATCH, 4, PATCH, 4, PATCH) > air).any((1, 3, 5))
    assert not (hidden & ~brain).any() and hidden.sum() == round(0.5 * brain.sum())


def test_air_is_zero(run, scan, tmp_path):
    look(run, scan, tmp_path)
    for name in ("image", "reconstruction"):
        values = np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj)
        assert values[0, 0, 0] == 0 and np.median(values) == 0 and values.max() > 1, name


def test_checkpoints_of_a_run_side_by_side(run, scan, tmp_path, monkeypatch):
    checkpoints = tuple(sorted((run / "checkpoints").glob("step_*")))
    look(run, scan, tmp_path, models=checkpoints, attention=True, kept=tmp_path / "kept")
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == [
        f"{name}.nii.gz" for name in ("hidden", "image", "importance", "patches")
    ]
    errors = []
    for step in (2, 4):
        place = tmp_path / f"step_{step:06d}"
        assert json.loads((place / "inspect.json").read_text())["steps"] == step
        errors.append(np.asarray(nib.load(place / "error.nii.gz").dataobj))
        weights, keys = np.load(place / "attention.npy"), np.load(place / "attention_keys.npy")
        assert weights.shape == (2, 2, 64, 8) and keys.shape == (2, 64, 8) and weights.dtype == np.float16
    assert not np.array_equal(*errors)

    calls = []
    monkeypatch.setattr(framed, "to_frame", lambda *_: calls.append(1))
    again = look(run, scan, tmp_path / "again", models=checkpoints[1:], kept=tmp_path / "kept")
    assert calls == [] and np.isfinite(again.error).all()
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:2000])
    monkeypatch.undo()
    assert np.array_equal(look(run, scan, tmp_path / "third", kept=tmp_path / "kept").image, again.image)


def test_checkpoints_of_two_networks(run, scan, tmp_path):
    settings = tiny.settings(tiny.make_store(tmp_path / "store"), **CHANGES)
    tiny.run(settings, tmp_path / "other")
    with pytest.raises(ModelError, match="different network"):
        look(run, scan, tmp_path / "out", models=(run, tmp_path / "other"))


def events(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code or 0, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_as_a_program_reads_it(run, scan, tmp_path, capsys):
    words = ("inspect", run, "--image", scan, "-o", tmp_path, "--stripped", "--aligned", "--json", "--attention")
    code, said = events(capsys, *words)
    assert code == 0 and said[-1] == {"event": "done", "folder": str(tmp_path)}
    steps = json.loads((tmp_path / "inspect.json").read_text())["steps"]
    assert {"event": "inspected", "folder": str(tmp_path), "steps": steps} in said
    shares = [event["fraction"] for event in said if event["event"] == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1
    assert (tmp_path / "error.nii").is_file() and not list(tmp_path.glob("*.gz")) + list(tmp_path.glob("*.png"))

    code, said = events(capsys, "inspect", tmp_path, "--image", scan, "-o", tmp_path / "x", "--stripped", "--json")
    assert code == ModelError.exit_code and "no checkpoint" in said[-1]["message"]


def test_neither_the_scan_nor_files_of_others_are_overwritten(run, scan, tmp_path):
    (tmp_path / "image.nii.gz").write_bytes(scan.read_bytes())
    with pytest.raises(OutputError, match="would overwrite the input"):
        look(run, tmp_path / "image.nii.gz", tmp_path)
    with pytest.raises(OutputError, match="already exists"):
        look(run, scan, tmp_path)
    assert (tmp_path / "image.nii.gz").read_bytes() == scan.read_bytes()
    (tmp_path / "image.nii.gz").unlink()
    for _ in range(2):  # its own results it does replace
        look(run, scan, tmp_path)
