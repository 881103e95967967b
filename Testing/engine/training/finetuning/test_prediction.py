"""From fine-tuned runs to label maps on the scans' own grids, and from these to scores: finetune, predict, evaluate."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from Testing.engine.labelled_files import tumour_head

from asa.cli import main
from asa.data.case_store import prepare_cases
from asa.data.datasets import DATASETS
from asa.errors import InputError
from asa.metrics.overlap import dice
from asa.training.finetuning.prediction import Tuned, combinations, mirror_axes
from asa.volume import read_volume

LEARNT = 0.5  # Dice that no prediction on another grid, or mirrored, reaches


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Three BraTS cases on disk, of 2 mm voxels."""
    root = tmp_path_factory.mktemp("brats")
    for seed in range(3):
        tumour_head(root, f"BraTS2021_{seed:05d}", seed)
    return root


@pytest.fixture(scope="module")
def runs(heads, tmp_path_factory):
    """Runs long enough to find the tumours: one of classes, one of regions, and one of another fold."""
    root = tmp_path_factory.mktemp("runs")
    prepare_cases(DATASETS["brats2021"], heads, root / "store", shape=(32, 32, 32), align=False)
    optimisation = {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0, "batch": 1, "precision": "fp32"}
    settings = {
        "store": str(root / "store"),
        "split": str(root / "split.json"),
        "folds": 3,
        "shares": [1, 0, 1],
        "size": "small",
        "crop": [32, 32, 32],
        "augment": {"rotation_p": 0, "scale_p": 0},
        "schedule": {"validate_every": 0, "checkpoint_every": 0},
    }
    different = {"classes": (25, {}), "regions": (25, {"output": "regions"}), "other": (1, {"fold": 1})}
    for name, (steps, changes) in different.items():
        path = root / f"{name}.yaml"
        values = {**settings, **changes, "optimisation": {**optimisation, "steps": steps}}
        path.write_text(yaml.safe_dump(values))
        leave(["finetune", path, "-o", root / name, "--device", "cpu", "--threads", "1"])
    return root


def leave(words, code=0):
    """Run a command as from a shell."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert (left.value.code or 0) == code


@pytest.mark.parametrize("output", ["classes", "regions"])
def test_held_out_cases_are_predicted_on_their_own_grids_and_scored(heads, runs, tmp_path, output):
    leave(["predict", runs / output, "-o", tmp_path / "predicted", "--device", "cpu", "--threads", "1"])
    tested = json.loads((runs / "split.json").read_text())["folds"][0]["test"]
    assert sorted(path.name for path in (tmp_path / "predicted").glob("*.nii.gz")) == [f"{n}.nii.gz" for n in tested]
    scoring = ["--dataset", "brats2021", "--partial", "-o", tmp_path / "scores"]
    leave(["evaluate", tmp_path / "predicted", heads, *scoring])
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["cases"] == len(tested) == 1
    found = []
    for name in tested:
        mine = read_volume(tmp_path / "predicted" / f"{name}.nii.gz", labels=True)
        manual = read_volume(heads / name / f"{name}_seg.nii.gz", labels=True)
        assert mine.grid.same_as(manual.grid)
        assert set(mine.array.flat) <= {0, 1, 2, 3}
        found.append(dice(mine.array > 0, manual.array > 0))
    assert min(found) > LEARNT
    assert summary["systems"]["ASA"]["WT"]["dice"]["mean"] == pytest.approx(sum(found) / len(found))


def test_mirror_images_along_every_axis_are_averaged(runs):
    tuned = Tuned.open(runs / "classes", torch.device("cpu"))
    image = np.random.default_rng(0).normal(size=(4, 32, 32, 32)).astype(np.float32)
    found = tuned.posterior(image, mirror="thw")
    for axis in (-3, -2, -1):  # the mean over all eight is that of the mirrored image, mirrored
        mirrored = tuned.posterior(np.flip(image, axis).copy(), mirror="thw")
        assert np.allclose(np.flip(mirrored, axis), found, atol=1e-5)
    assert not np.allclose(tuned.posterior(image), found, atol=1e-4)
    assert [len(combinations(axes)) for axes in ("", "w", "thw")] == [1, 2, 8]
    assert (mirror_axes("none"), mirror_axes("thw")) == ("", "thw")
    for wrong in ("x", "ww", "all"):
        with pytest.raises(InputError, match="Mirroring takes none, w"):
            mirror_axes(wrong)


def test_scores_of_cases_that_trained_the_network_are_not_shown_without_a_word(runs, tmp_path, capsys):
    command = ["predict", runs / "classes", "--device", "cpu", "--threads", "1", "-o"]
    leave([*command, tmp_path / "all", "--part", "all"])
    assert "2 of these 3 cases were used for training" in capsys.readouterr().err
    trained = json.loads((runs / "split.json").read_text())["folds"][0]["train"]
    assert json.loads((tmp_path / "all" / "prediction.json").read_text())["trained_on"] == sorted(trained)
    leave([*command, tmp_path / "test"])
    assert "were used for training" not in capsys.readouterr().err
    assert json.loads((tmp_path / "test" / "prediction.json").read_text())["trained_on"] == []


def test_runs_that_do_not_belong_together_are_not_averaged(runs, tmp_path, capsys):
    leave(["predict", runs / "classes", runs / "other", "-o", tmp_path / "a", "--device", "cpu"], code=3)
    assert "different test cases" in capsys.readouterr().err
    leave(["predict", runs / "classes", runs / "regions", "-o", tmp_path / "a", "--device", "cpu"], code=3)
    assert "a different store or output" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_another_store_gets_no_split_of_its_own(heads, runs, tmp_path, capsys):
    """One case more, and another draw: what the run was trained on would be among what it is tested on."""
    for path in heads.iterdir():
        (tmp_path / "more" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "more" / path.name).symlink_to(path, target_is_directory=True)
    tumour_head(tmp_path / "more", "BraTS2021_00009", 9)
    prepare_cases(DATASETS["brats2021"], tmp_path / "more", tmp_path / "s", shape=(32,) * 3, align=False)
    shutil.copytree(runs / "classes", tmp_path / "run")
    description = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    description["settings"]["split"] = ""  # beside the cases
    (tmp_path / "run" / "run.yaml").write_text(yaml.safe_dump(description))
    leave(["predict", tmp_path / "run", "--store", tmp_path / "s", "-o", tmp_path / "a", "--device", "cpu"], code=3)
    assert "the split used to train" in capsys.readouterr().err
    shutil.copy(runs / "split.json", tmp_path / "s" / "split.json")
    leave(["predict", tmp_path / "run", "--store", tmp_path / "s", "-o", tmp_path / "a", "--device", "cpu"], code=3)
    assert "BraTS2021_00009 is in no part" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"modalities": ["flair", "t2", "t1gd", "t1"]}, "modalities: t1, t1gd, t2, flair there, flair, t2, t1gd, t1"),
        ({"modalities": ["flair"]}, "modalities: t1, t1gd, t2, flair there, flair here"),
        ({"stripped": True}, "stripped scans: no there, yes here"),
        ({"shape": (24, 32, 32)}, "windows of (32, 32, 32) voxels there, volumes of (24, 32, 32) here"),
    ],
)
def test_a_store_that_was_prepared_otherwise_is_not_predicted(heads, runs, tmp_path, capsys, how, message):
    prepare_cases(DATASETS["brats2021"], heads, tmp_path / "s", **{"shape": (32,) * 3, "align": False, **how})
    leave(["predict", runs / "classes", "--store", tmp_path / "s", "--part", "all", "-o", tmp_path / "a"], code=3)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_only_what_a_prediction_wrote_is_overwritten(heads, runs, tmp_path, capsys):
    command = ["predict", runs / "classes", "--device", "cpu", "--threads", "1", "-o", tmp_path / "a"]
    (name,) = json.loads((runs / "split.json").read_text())["folds"][0]["test"]
    (tmp_path / "a").mkdir()
    labels = tmp_path / "a" / f"{name}.nii.gz"
    labels.write_bytes(b"of one's own")
    leave(command, code=4)
    assert f"{labels} already exists" in capsys.readouterr().err and labels.read_bytes() == b"of one's own"
    assert len(list((tmp_path / "a").iterdir())) == 1
    labels.unlink()
    leave(command)
    leave(command)
    labels.write_bytes(b"corrected by hand")
    leave(command, code=4)
    assert labels.read_bytes() == b"corrected by hand"
    scan = heads / name / f"{name}_flair.nii.gz"
    labels.unlink()
    labels.symlink_to(scan)
    before = scan.read_bytes()
    capsys.readouterr()
    leave(command, code=4)
    assert f"would overwrite the input {scan}" in capsys.readouterr().err and scan.read_bytes() == before
