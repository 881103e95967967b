"""From a scan to labels, with a small network of random weights: geometry, blending, errors."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from Testing.engine.tiny_model import tiny_config, write_tiny_model

from asa.devices import choose_device, to_array
from asa.errors import InputError, ModelError, ResourceError
from asa.files import sha256
from asa.geometry import FRAME
from asa.inference import SegmentRequest, predictor, segment
from asa.inference.labelling import keep_main_component, label_classes
from asa.inference.predictor import Predictor
from asa.inference.series import UNALIGNED
from asa.models import find_model, list_models, load_network, open_model
from asa.preprocessing.normalise import zscore
from asa.volume import Grid, Volume, read_volume, write_volume

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", CONFIG, half=True)


@pytest.fixture
def scan(tmp_path) -> Path:
    """An ellipsoid 'brain' on an oblique, left-handed 2.5 mm grid."""
    rng = np.random.default_rng(0)
    shape = (60, 72, 62)
    turn = np.array([[-0.98, 0.17, 0.0], [0.17, 0.98, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = 2.5 * turn @ np.eye(3)[::-1]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + [0, -16, 5]
    t, h, w = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 2.5 for n in shape], indexing="ij")
    inside = (t / 60) ** 2 + (h / 75) ** 2 + (w / 58) ** 2 < 1
    array = np.where(inside, 100 + 20 * rng.standard_normal(shape), 0).clip(0).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    write_volume(Volume(array, Grid(shape, affine)), path)
    return path


def test_labels_lie_on_the_scans_own_grid(model, scan):
    stages: list[tuple[str, float]] = []
    request = SegmentRequest({"t1": scan}, model=str(model), align="none", device="cpu", posterior=True)
    result = segment(request, lambda stage, fraction: stages.append((stage, fraction)))
    original = read_volume(scan)
    assert result.labels.grid.same_as(original.grid) and result.labels.array.dtype == np.uint8
    assert set(np.unique(result.labels.array)) <= {0, 1, 2, 3, 4}
    assert result.posterior.shape == (5, *original.array.shape)
    assert np.array_equal(result.posterior.argmax(0) > 0, result.labels.array > 0)
    fractions = [f for _, f in stages]
    assert fractions == sorted(fractions) and {s for s, _ in stages} == {"reading", "aligning", "network", "labelling"}
    assert set(result.timings) == {"reading", "aligning", "network", "labelling"}
    assert result.alignment.method == "identity"


def test_pytorch_is_not_needed_to_read_and_align():
    check = "import sys, asa.inference; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_head_is_read_and_placed_once(model, scan, monkeypatch):
    request = SegmentRequest({"t1": scan}, model=str(model), align="none", device="cpu")
    first = segment(request)

    def unexpected(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr("asa.inference.head.read_scan", unexpected)
    monkeypatch.setattr("asa.inference.head.place_series", unexpected)
    again = segment(request, head=first.head)
    assert np.array_equal(again.labels.array, first.labels.array)
    assert again.warnings == first.warnings and again.series == first.series
    with pytest.raises(AssertionError):  # a head of other images
        segment(request, head=dataclasses.replace(first.head, scans={}))


def test_label_classes_puts_classes_where_they_are_in_millimetres():
    posterior = np.zeros((3, *FRAME.shape), np.float32)
    posterior[0] = 1
    for number, (t, h, w) in ((1, (40, 70, 40)), (2, (80, 100, 100))):
        box = (slice(t, t + 30), slice(h, h + 26), slice(w, w + 34))
        posterior[(0, *box)], posterior[(number, *box)] = 0, 1
    grid = Grid((70, 80, 90), np.array([[0, 0.3, -2.0, 90], [0, 2.4, 0.2, -112], [2.5, 0, 0, -80], [0, 0, 0, 1]]))
    labels, kept = label_classes(posterior, UNALIGNED, grid, keep=True)
    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    frame_index = np.rint(FRAME.to_index(grid.to_world(places))).astype(int)
    inside = np.all((frame_index >= 0) & (frame_index < FRAME.shape), axis=-1)
    expected = np.zeros(grid.shape, np.uint8)
    expected[inside] = posterior.argmax(0)[tuple(frame_index[inside].T)]
    border = ndimage.grey_dilation(expected, size=3) != ndimage.grey_erosion(expected, size=3)
    assert (expected[~border] > 0).sum() > 1500
    assert np.array_equal(labels[~border], expected[~border])
    assert np.allclose(kept.sum(0), 1, atol=0.01)


def test_windows_agree_with_one_pass(model, monkeypatch):
    torch.manual_seed(0)
    network = Predictor(open_model(model), torch.device("cpu"))
    network.bf16 = False
    image = to_array(torch.randn(1, *FRAME.shape))
    whole = network.posterior(image)
    monkeypatch.setattr(predictor, "fits", lambda *_, **__: False)
    parts: list[float] = []
    windows = network.posterior(image, progress=parts.append)
    assert parts[-1] == 1.0 and len(parts) > 1
    assert np.allclose(windows.sum(0), 1, atol=1e-4)
    assert np.abs(whole - windows).mean() < 0.01  # they differ near window borders only


def test_flip_averaging_is_mirror_symmetric(model):
    network = Predictor(open_model(model), torch.device("cpu"))
    image = np.random.default_rng(0).standard_normal((1, *FRAME.shape)).astype(np.float32)
    a = network.posterior(image, tta=True)
    b = network.posterior(np.ascontiguousarray(image[..., ::-1]), tta=True)[..., ::-1]
    assert np.allclose(a, b, atol=1e-5)


def test_out_of_memory_is_one_sentence(model, monkeypatch):
    network = Predictor(open_model(model), torch.device("cpu"))

    def full(*_args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(network, "run", full)
    with pytest.raises(ResourceError, match="too little free memory"):
        network.posterior(np.zeros((1, *FRAME.shape), np.float32))


def test_zscore_ignores_air_and_padding():
    rng = np.random.default_rng(0)
    brain = rng.normal(500, 50, (20, 20, 20)).astype(np.float32)
    padded = np.zeros((40, 40, 40), np.float32)
    padded[10:30, 10:30, 10:30] = brain
    assert np.allclose(zscore(padded)[10:30, 10:30, 10:30], zscore(brain), atol=1e-3)
    assert zscore(brain).mean() == pytest.approx(0, abs=0.01) and zscore(brain).std() == pytest.approx(1, abs=0.01)
    assert not zscore(np.zeros((4, 4, 4), np.float32)).any()


def test_only_the_main_component_stays():
    posterior = np.zeros((2, 20, 20, 20), np.float32)
    posterior[0] = 1
    for box in ((slice(2, 10),) * 3, (slice(14, 17),) * 3):
        posterior[(0, *box)], posterior[(1, *box)] = 0.2, 0.8
    kept = keep_main_component(posterior)
    assert (kept[1] > 0.5).sum() == 8**3 and kept[0, 15, 15, 15] == 1


def test_missing_modality_unknown_task_and_device(model, scan):
    with pytest.raises(InputError, match="needs t1"):
        segment(SegmentRequest({"flair": scan}, model=str(model)))
    with pytest.raises(InputError, match="no task 'knee'"):
        segment(SegmentRequest({"t1": scan}, task="knee"))
    with pytest.raises(ResourceError, match="cuda:7"):
        choose_device("cuda:7")
    with pytest.raises(ResourceError, match="Unknown device"):
        choose_device("abacus")


def test_damaged_models_say_what_is_wrong(model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(ModelError, match="not a model folder"):
        open_model(broken)
    info = json.loads((model / "model.json").read_text())
    (broken / "model.json").write_text(json.dumps(info))
    with pytest.raises(ModelError, match="missing"):
        load_network(open_model(broken))
    (broken / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="do not match"):
        load_network(open_model(broken))
    other = dataclasses.replace(CONFIG, widths=(2, 3, 4, 6))
    (broken / "model.json").write_text(json.dumps(info | {"network": other.to_dict()}))
    (broken / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="do not match"):
        load_network(open_model(broken))
    (broken / "model.json").write_text(json.dumps(info | {"format": 99}))
    with pytest.raises(ModelError, match="newer version"):
        open_model(broken)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e12])
@pytest.mark.parametrize("where", ["everywhere", "one value"])
def test_weights_that_cannot_be_are_refused(model, scan, tmp_path, value, where):
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(model / "model.safetensors").items()}
    floats = [name for name, tensor in weights.items() if tensor.is_floating_point()]
    for name in floats if where == "everywhere" else floats[-1:]:
        weights[name] = weights[name].clone()
        weights[name].view(-1)[None if where == "everywhere" else -1] = value
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(ModelError, match="The weights of model 'tiny' are not usable"):
        segment(SegmentRequest({"t1": scan}, model=str(broken), align="none", device="cpu"))


@pytest.mark.parametrize("change", [lambda w: -w, lambda w: w * 1000, lambda w: w + 1e-2])
def test_weights_other_than_those_described_are_refused(model, tmp_path, change):
    """Weights of a changed sign are finite, and compute labels that look like labels."""
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    info = json.loads((model / "model.json").read_text()) | {"weights_sha256": sha256(model / "model.safetensors")}
    (broken / "model.json").write_text(json.dumps(info))
    assert load_network(open_model(broken))
    weights = load_file(model / "model.safetensors")
    changed = {k: change(v).contiguous() if v.is_floating_point() else v for k, v in weights.items()}
    save_file(changed, broken / "model.safetensors")
    with pytest.raises(ModelError, match="its SHA-256 differs from 'weights_sha256'"):
        load_network(open_model(broken))
    (broken / "model.json").write_text(json.dumps(info | {"weights_sha256": "12"}))
    with pytest.raises(ModelError, match="'weights_sha256' must be 64 hexadecimal digits"):
        open_model(broken)


def test_the_models_that_ship_have_the_weights_that_they_describe():
    for one in list_models():
        if Path("Resources/Models") in one.path.relative_to(one.path.parents[2]).parents:
            assert one.description.weights_sha256 == sha256(one.path / "model.safetensors")


@pytest.mark.parametrize("temperature", [float("nan"), 0.0])
def test_a_temperature_that_cannot_be_is_refused(model, scan, tmp_path, temperature):
    """0 would make the logits infinite, which softmax turns into NaN."""
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    info = json.loads((model / "model.json").read_text()) | {"temperature": temperature}
    (broken / "model.json").write_text(json.dumps(info))
    with pytest.raises(ModelError, match="'temperature' must be a number above 0"):
        segment(SegmentRequest({"t1": scan}, model=str(broken), align="none", device="cpu"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_what_a_network_computes_is_finite_and_not_absurd(model, scan, monkeypatch, value):
    def forward(_self, image, _origin=(0, 0, 0)):
        return torch.full((1, 5, *image.shape[-3:]), value)

    monkeypatch.setattr("asa.nn.segmenter.Segmenter.forward", forward)
    with pytest.raises(ModelError, match="not finite numbers"):
        segment(SegmentRequest({"t1": scan}, model=str(model), align="none", device="cpu"))


def test_a_result_without_a_brain_is_doubtful(model, scan, monkeypatch):
    def nothing(self, image, *, tta=False, progress=None):
        posterior = np.zeros((5, *FRAME.shape), np.float32)
        posterior[0] = 1
        return posterior

    monkeypatch.setattr(Predictor, "posterior", nothing)
    result = segment(SegmentRequest({"t1": scan}, model=str(model), align="none", device="cpu"))
    assert result.trust.verdict == "doubtful" and "The model found no brain in the image." in result.trust.reasons


def test_models_are_found_by_environment_name_and_task(model, monkeypatch):
    monkeypatch.setenv("ASA_MODELS", str(model.parent))
    assert {"tiny", "tissue"} <= {m.name for m in list_models("tissue")}
    assert find_model("tiny").path == model
    with pytest.raises(ModelError, match="No model 'absent'"):
        find_model("absent")
    with pytest.raises(ModelError, match="is for task 'tissue'"):
        find_model("tiny", "tumour")
