"""The command line with the real engine and a small network of random weights: the parts fit together."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from Testing.engine.tiny_model import tiny_config, write_tiny_model

from asa import cli


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", tiny_config())


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A left-handed 3 mm ellipsoid of noise."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (56, 66, 56)), indexing="ij")
    noise = np.random.default_rng(0).normal(100, 20, x.shape)
    data = np.where(x**2 + y**2 + z**2 < 0.7, noise, 0).clip(0)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [84, -115, -72]
    path = tmp_path_factory.mktemp("scan") / "t1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data.astype(np.int16), affine), path)
    return path


def test_from_image_to_folder(
    model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["segment", str(scan), "-o", "out", "--model", str(model), "--device", "cpu", "--align", "none"]
    with pytest.raises(SystemExit) as left:
        cli.main([*arguments, "--posterior", "--threads", "1"])
    _, err = capsys.readouterr()
    assert not left.value.code, err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["label_values"] == {"CSF": [1, 4], "ventricles": [1], "GM": [2], "WM": [3]}
    assert report["model"]["name"] == "tiny" and report["device"] == "cpu"
    assert {"aligning", "network", "writing"} <= set(report["timings_s"])
    labels = nibabel.load(tmp_path / "out" / "segmentation.nii.gz")
    np.testing.assert_allclose(labels.affine, nibabel.load(scan).affine, atol=1e-4)
    probability = sum(nibabel.load(path).get_fdata() for path in (tmp_path / "out").glob("posterior_*.nii.gz"))
    assert probability.shape == labels.shape and probability.max() <= 1.01
    uncertainty = nibabel.load(tmp_path / "out" / "uncertainty.nii.gz").get_fdata()
    assert uncertainty.min() >= 0 and uncertainty.max() <= 1.0001


def test_a_broken_model_is_exit_code_5(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["segment", str(scan), "-o", str(tmp_path / "out"), "--model", "no such model"])
    assert left.value.code == 5
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
