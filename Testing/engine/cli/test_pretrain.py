"""asa prepare, pretrain and inspect, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from Testing.engine import tiny_pretraining as tiny

from asa.cli import main


def asa(*words: object) -> int:
    """Exit code of one command line."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


def write_tree(folder: Path) -> Path:
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-78, -110, -72)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 48, 40)], indexing="ij")
    for number in (1, 2, 3):
        image = np.where(x**2 + y**2 + z**2 < 0.6, 100 + 40 * np.sin(9 * x + number) + 30 * np.cos(7 * z), 0)
        path = folder / f"sub-{number}/anat/sub-{number}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
    return folder


def test_from_a_tree_to_the_picture(tmp_path, capsys):
    tree = write_tree(tmp_path / "tree")
    assert asa("prepare", "pretrain", "--bids", tree, "-o", tmp_path / "store", "--stripped", "--aligned") == 0
    assert "3 scans in" in capsys.readouterr().out

    settings = tiny.settings(tmp_path / "elsewhere", epochs=4, held_out=0.3)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    run = tmp_path / "run"
    command = ("pretrain", tmp_path / "settings.yaml", "--store", tmp_path / "store", "-o", run, "--device", "cpu")
    assert asa(*command) == 0
    assert json.loads((run / "state.json").read_text())["phase"] == "finished"

    scan = tree / "sub-1/anat/sub-1_T1w.nii.gz"
    out = tmp_path / "picture"
    assert asa("inspect", run, "--image", scan, "-o", out, "--stripped", "--aligned") == 0
    assert (out / "inspect.png").stat().st_size > 10_000
    assert json.loads((out / "inspect.json").read_text())["method"] == "asa"


def test_an_empty_tree_is_one_sentence(tmp_path, capsys):
    assert asa("prepare", "pretrain", "--bids", tmp_path, "-o", tmp_path / "store", "--stripped") == 3
    assert "contains no T1-weighted scan" in capsys.readouterr().err


def test_unfit_settings_are_named(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("store: x\nmask_ratio: 1.5\nepoch: 3\n")
    assert asa("pretrain", tmp_path / "settings.yaml", "-o", tmp_path / "run") == 3
    said = capsys.readouterr().err
    assert "mask_ratio" in said and "epoch" in said


@pytest.mark.parametrize(
    "words", [("evaluate",), ("pretrain", "--size", "64"), ("pretrain", "--stripped", "--tool", "x")]
)
def test_what_prepare_does_not_know(tmp_path, words):
    assert asa("prepare", words[0], "--bids", tmp_path, "-o", tmp_path / "store", *words[1:]) == 2


def test_bias_correction_needs_a_brain(tmp_path, capsys):
    words = ("prepare", "finetune", "--data", tmp_path, "--dataset", "brats2021", "-o", tmp_path / "store")
    assert asa(*words, "--bias-correction") == 2
    assert "--stripped" in capsys.readouterr().err
