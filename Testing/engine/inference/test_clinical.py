"""From several series to labels on the one of choice, and what is refused; the network's answer is made up.

What networks make of what they see is tested in test_inference.py; here it is what they are shown and what becomes of
their answer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage
from Testing.engine.atlas_heads import head, noise_block, true_matrix

from asa.errors import InputError
from asa.geometry import FRAME, template_brain
from asa.geometry.orientation import about, turned
from asa.inference import SegmentRequest, SegmentResult, segment
from asa.inference.plausibility import brain_reasons
from asa.inference.predictor import Predictor
from asa.inference.quality import confidence_reasons
from asa.nn import EncoderConfig, Segmenter, SegmenterConfig
from asa.volume import Grid, Volume, read_volume, write_volume

MODALITIES = ["t1", "t1gd", "t2", "flair"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of nested regions that can do without any one modality."""
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    encoder = EncoderConfig(frame=(20, 24, 20), in_channels=4, dim=12, depth=2, heads=2)
    config = SegmenterConfig(encoder=encoder, classes=3, widths=(2, 3, 4, 5), taps=(1, 2), pyramid=True, norm="batch")
    torch.manual_seed(3)
    network = Segmenter(config)
    save_file(network.state_dict(), folder / "model.safetensors")
    info = {
        "format": 1,
        "name": "small",
        "task": "tumour",
        "modalities": MODALITIES,
        "optional_modalities": MODALITIES,
        "output": "regions",
        "normalisation": "brain z-score",
        "unknown_without": {"t1gd": ["ET"]},
        "network": config.to_dict(),
    }
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every image the network is shown; it answers with balls of 30, 20 and 10 mm in the middle of the frame."""
    places = np.indices(FRAME.shape, np.float32)
    middle = np.array(FRAME.shape, np.float32)[:, None, None, None] / 2
    radius = np.sqrt(((places - middle) ** 2).sum(axis=0))
    seen: list[np.ndarray] = []

    def answer(self: Predictor, image: np.ndarray, **_: object) -> np.ndarray:
        seen.append(image)
        return np.stack([np.where(radius < size, 0.9, 0.05) for size in (30, 20, 10)]).astype(np.float32)

    monkeypatch.setattr(Predictor, "posterior", answer)
    return seen


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stripped series of one person: three on one grid, FLAIR in 4 mm slices of a head that moved."""
    folder = tmp_path_factory.mktemp("images")
    lying = true_matrix(3, 2, 4)
    series = {key: head(lying, key, person=1, stripped=True, spacing=(3, 2, 2)) for key in ("t1", "t1gd", "t2")}
    series["flair"] = head(true_matrix(5, 0, 2), "flair", person=1, stripped=True, spacing=(4, 2, 2))
    for key, scan in series.items():
        write_volume(scan, folder / f"{key}.nii.gz")
    return {key: folder / f"{key}.nii.gz" for key in series}


def run(images: dict[str, Path], model: Path, **settings: object) -> SegmentResult:
    return segment(SegmentRequest(images, "tumour", str(model), "cpu", **settings))  # type: ignore[arg-type]


def test_the_result_lies_on_the_series_of_choice(images: dict[str, Path], model: Path, shown: list[np.ndarray]) -> None:
    result = run(images, model, reference="flair", posterior=True)
    flair = read_volume(images["flair"])
    assert result.labels.grid.same_as(flair.grid) and result.reference == "flair"
    assert result.used == tuple(MODALITIES)
    assert [result.series[key]["registration"] for key in MODALITIES] == ["anchor", "as given", "as given", "rigid"]
    truth = flair.array > 0
    overlap = 2 * (result.brain.array.astype(bool) & truth).sum() / (result.brain.array.sum() + truth.sum())
    assert overlap > 0.93, "the brain of the T1 lies where that of the FLAIR is"
    assert result.posterior is not None and np.abs(result.posterior.astype(np.float32).sum(0) - 1).max() < 0.01
    assert result.trust.verdict == "ok", result.trust.reasons
    ml = abs(np.linalg.det(result.alignment.matrix[:3, :3])) * 4 / 3 * np.pi * 30**3 / 1000
    assert (result.labels.array > 0).sum() * flair.grid.voxel_volume_ml == pytest.approx(ml, rel=0.03)
    (image,) = shown
    brain = (image[0] != 0) & (image[3] != 0)
    assert np.corrcoef(image[0][brain], image[1][brain])[0, 1] > 0.95, "T1 and T1Gd of the phantom look alike"
    deep = ndimage.binary_erosion(brain, iterations=8)
    assert np.corrcoef(image[0][deep], image[2][deep])[0, 1] < -0.3, "what is bright in T1 is dark in T2"


def test_coil_shading_is_taken_out_where_the_model_asks_for_it(
    images: dict[str, Path], model: Path, shown: list[np.ndarray], tmp_path: Path
) -> None:
    scan = read_volume(images["flair"])
    ramp = np.exp(np.linspace(-0.4, 0.4, scan.array.shape[0], dtype=np.float32))[:, None, None]
    write_volume(scan.with_array(scan.array * ramp), tmp_path / "flair.nii.gz")
    corrects = tmp_path / "corrects"
    shutil.copytree(model, corrects)
    info = json.loads((model / "model.json").read_text()) | {"normalisation": "N4, brain z-score"}
    (corrects / "model.json").write_text(json.dumps(info))
    run({"flair": images["flair"]}, model)
    run({"flair": tmp_path / "flair.nii.gz"}, model)
    run({"flair": tmp_path / "flair.nii.gz"}, corrects)
    even, shaded, corrected = (image[3] for image in shown)
    assert np.abs(corrected - even).mean() < 0.5 * np.abs(shaded - even).mean()


def test_any_modality_will_do_and_what_is_not_known_is_said(
    images: dict[str, Path], model: Path, shown: list[np.ndarray]
) -> None:
    result = run({"t2": images["t2"]}, model)
    assert not shown[0][[0, 1, 3]].any() and shown[0][2].any(), "what is missing is zero"
    assert result.used == ("t2",) and result.reference == "t2"
    assert any(
        "Without a T1 image with contrast agent the model cannot segment" in warning for warning in result.warnings
    )
    with pytest.raises(InputError, match="'flair' is not among the images given"):
        run({"t2": images["t2"]}, model, reference="flair")


def test_a_weak_model_says_so_in_every_result(images: dict[str, Path], model: Path, tmp_path: Path) -> None:
    weak = shutil.copytree(model, tmp_path / "weak")
    info = json.loads((weak / "model.json").read_text())
    (weak / "model.json").write_text(json.dumps({**info, "doubts": ["A first version."]}))
    result = run({"t2": images["t2"]}, weak)
    assert result.trust.verdict == "doubtful" and "A first version." in result.trust.reasons
    assert "A first version." in result.warnings


def test_a_wrong_modality_makes_the_result_doubtful(images: dict[str, Path], model: Path) -> None:
    result = run({"t1": images["t2"]}, model)
    assert result.trust.verdict == "doubtful"
    assert "The T1 image has the contrast of a T2" in result.trust.reasons[0]
    assert set(result.trust.reasons) <= set(result.warnings)


def test_noise_is_refused(tmp_path: Path, model: Path) -> None:
    write_volume(noise_block(), tmp_path / "noise.nii.gz")
    with pytest.raises(InputError, match="does not show a recognisable brain"):
        run({"flair": tmp_path / "noise.nii.gz"}, model)


def test_partial_coverage_is_doubtful(tmp_path: Path, model: Path) -> None:
    scan = head(true_matrix(), "flair", person=1, spacing=(3, 3, 3), stripped=True)
    upper = scan.grid.affine.copy()
    upper[:3, 3] = scan.grid.to_world((34, 0, 0))
    array = scan.array[34:]
    write_volume(Volume(array, Grid((len(array), *scan.grid.shape[1:]), upper)), tmp_path / "part.nii.gz")
    result = run({"flair": tmp_path / "part.nii.gz"}, model)
    assert result.trust.verdict == "doubtful"
    assert any("outside the field of view" in reason for reason in result.trust.reasons)


def test_no_array_goes_over_the_bridge_between_pytorch_and_numpy(
    images: dict[str, Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run({"t2": images["t2"]}, model)

    def disabled(*_args: object, **_settings: object) -> None:
        raise RuntimeError("Numpy is not available")  # what PyTorch before 2.3 says beside NumPy 2

    monkeypatch.setattr(torch, "from_numpy", disabled)
    for name in ("numpy", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, disabled)
    for name in ("tensor", "as_tensor"):
        real = getattr(torch, name)

        def refusing(data: object, *args: object, real: object = real, **settings: object) -> object:
            return disabled() if isinstance(data, np.ndarray | np.generic) else real(data, *args, **settings)  # type: ignore[operator]

        monkeypatch.setattr(torch, name, refusing)
    found = run({"t2": images["t2"]}, model)
    assert np.array_equal(found.labels.array, wanted.labels.array) and found.labels.array.any()


def test_a_turned_head_is_doubtful_accepted_or_refused(tmp_path: Path, model: Path) -> None:
    scan = head(true_matrix(), "flair", person=1, spacing=(3, 3, 3), stripped=True)
    wrong = turned(scan, about(scan.grid.centre, np.diag([1.0, -1.0, -1.0])))
    write_volume(wrong, tmp_path / "flair.nii.gz")
    doubtful = run({"flair": tmp_path / "flair.nii.gz"}, model)
    (reason,) = doubtful.trust.reasons
    assert "The orientation in the header of the FLAIR image seems to be wrong" in reason
    accepted = run({"flair": tmp_path / "flair.nii.gz"}, model, reorient="auto")
    assert accepted.trust.verdict == "ok" and reason in accepted.warnings
    assert np.array_equal(accepted.labels.array, doubtful.labels.array)
    with pytest.raises(InputError, match=r"would be doubtful \(--strict\): The orientation"):
        run({"flair": tmp_path / "flair.nii.gz"}, model, strict=True)


def test_doubts_about_what_came_out() -> None:
    brain = template_brain()
    assert list(brain_reasons(brain)) == []
    assert "agrees poorly with the template's" in next(brain_reasons(np.roll(brain, 40, axis=0)))
    posterior = np.zeros((3, 8, 8, 8), np.float32)
    posterior[0] = 1
    assert list(confidence_reasons(posterior)) == []
    posterior[:, 2:6, 2:6, 2:6] = np.array([0.02, 0.95, 0.03])[:, None, None, None]
    assert list(confidence_reasons(posterior)) == []
    posterior[:, 2:6, 2:6, 2:6] = np.array([0.2, 0.45, 0.35])[:, None, None, None]
    assert "uncertain" in next(confidence_reasons(posterior))
