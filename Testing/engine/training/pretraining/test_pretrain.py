"""Pre-training from settings to the encoder that fine-tuning takes, and the researcher's picture."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from Testing.engine import tiny_pretraining as tiny

from asa.data.scan_store import ScanStore
from asa.data.stripping import AlreadyStripped
from asa.errors import InputError, ModelError
from asa.inspection.inspect import Inspection, inspect
from asa.nn import Encoder
from asa.runs.folder import read_events
from asa.seeds import generator
from asa.synth import HeadGenerator
from asa.training.parallel.distributed import World
from asa.training.planning.presets import preset
from asa.training.pretraining.pretrain import pretrain, with_synthetic_heads
from asa.training.pretraining.pretrained import Pretrained
from asa.training.pretraining.previews import reconstruct
from asa.training.pretraining.sampling import StoredScans
from asa.training.pretraining.settings import PretrainSettings
from asa.training.publishing.export import export_model
from asa.training.settings import read_settings

FRAME = (16, 16, 16)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny.make_store(tmp_path_factory.mktemp("store"))


def short(store, **changes):
    return tiny.settings(store, epochs=2, warmup_epochs=0, preview_every=2, **changes)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert tiny.run(short(store), folder) == "finished"
    return folder


def test_defaults_are_table_1a():
    settings = PretrainSettings(store="store")
    o = settings.optimisation(scans=11_993)
    assert (o.optimiser, o.betas, o.weight_decay, o.schedule) == ("adamw", (0.9, 0.95), 0.05, "cosine")
    assert (o.batch, o.warmup_lr, o.lr) == (96, 1e-6, pytest.approx(1.5e-4 * 96 / 256))
    assert o.warmup_steps == round(40 * 11_993 / 96)
    assert (settings.method, settings.mask_ratio, settings.bins, settings.weight_mode) == ("asa", 0.75, 9, "paper")
    assert settings.autoencoder().encoder.frame == (16, 16, 16)


def test_published_settings_are_the_defaults(repository):
    published = read_settings(repository / "Resources/Configs/pretrain_paper.yaml", PretrainSettings)
    assert published.model_dump() == PretrainSettings(store="store", micro_batch=6).model_dump()
    starter = read_settings(repository / "Resources/Configs/pretrain_starter.yaml", PretrainSettings)
    assert starter.model_dump() == preset("pretrain", "starter").model_dump()


@pytest.mark.parametrize(("method", "position"), [("asa", "symmetric"), ("a-ssl", "sinusoid"), ("mae", "sinusoid")])
def test_table_4_is_settings(method, position):
    assert PretrainSettings(store="x", method=method).autoencoder().encoder.position == position
    assert PretrainSettings(store="x", method=method, position="axial").autoencoder().encoder.position == "axial"


def test_previews_and_tensorboard(run):
    previews = [event["file"] for event in read_events(run / "events.jsonl") if event["event"] == "preview"]
    assert previews == ["step_000002.png"]
    with Image.open(run / "previews" / previews[0]) as picture:
        assert picture.width > 1000 and len(picture.getcolors(1 << 24)) > 50
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_encoder_for_fine_tuning(run):
    config, weights = Pretrained.open(run).encoder()
    Encoder(config).load_state_dict(weights)
    assert config.dim == 16


def test_exported_as_a_model(run, tmp_path):
    description = {"name": "encoder", "task": "pretraining", "modalities": ["t1"]}
    export_model(run / "checkpoints" / "last.safetensors", tmp_path, description)
    exported, trained = Pretrained.open(tmp_path), Pretrained.open(run)
    assert exported.config == trained.config and exported.method == "asa"
    for name, weight in trained.reconstruction().network.state_dict().items():
        assert torch.allclose(exported.weights[name], weight, atol=1e-3)


@pytest.mark.parametrize("method", ["rpl", "jigsaw"])
def test_compared_methods_leave_an_encoder_too(tmp_path, method):
    store = tiny.make_store(tmp_path / "store", edge=28)
    settings = short(store, method=method)
    settings["encoder"]["frame"] = [7, 7, 7]
    assert tiny.run(settings, tmp_path / "run") == "finished"
    pretrained = Pretrained.open(tmp_path / "run")
    config, weights = pretrained.encoder()
    Encoder(config).load_state_dict(weights)
    with pytest.raises(ModelError, match="does not reconstruct images"):
        pretrained.reconstruction()


def test_inspect(run, tmp_path):
    affine = np.diag([-4.0, 4, 4, 1])  # a left-handed file
    affine[:3, 3] = (78, -110, -72)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 48, 40)], indexing="ij")
    image = np.where(x**2 + y**2 + z**2 < 0.6, 100 + 40 * np.sin(9 * x) + 30 * np.cos(7 * z), 0)
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), tmp_path / "T1.nii.gz")
    shown = inspect(Inspection((run,), tmp_path / "T1.nii.gz", AlreadyStripped(), align=False), tmp_path / "out")

    assert shown.hidden.mean() == 0.75 and not shown.error[shown.hidden == 0].any()
    assert np.array_equal(shown.reconstruction[shown.hidden == 0], shown.image[shown.hidden == 0])
    assert (tmp_path / "out/inspect.png").exists() and (tmp_path / "out/inspect.json").exists()
    for name in shown._fields:
        overlay = nib.load(tmp_path / f"out/{name}.nii.gz")
        assert overlay.shape == image.shape and np.allclose(overlay.affine, affine)
    hidden = nib.load(tmp_path / "out/hidden.nii.gz").get_fdata()
    assert set(np.unique(hidden)) == {0.0, 1.0}


def test_a_network_trained_on_crops_is_shown_crops(store, tmp_path):
    """Its windows of tokens lie otherwise in a larger image; what one crop holds does not change another."""
    assert tiny.run(short(store, crop=[8, 8, 8]), tmp_path) == "finished"
    pretrained = Pretrained.open(tmp_path)
    assert pretrained.crop == (8, 8, 8)
    objective = pretrained.reconstruction()
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[..., :4, :4, :4] += 1.0
    mask = torch.zeros(1, 64, dtype=torch.bool)
    mask[0, 1::3] = True
    ours, theirs, whole = (
        reconstruct(objective, {"image": x, "origins": [(0, 0, 0)], "seeds": [0], "mask": mask}, crop).reconstruction
        for x, crop in ((image, pretrained.crop), (other, pretrained.crop), (image, None))
    )
    changed = ours != theirs
    assert changed[:8, :8, :8].sum() > 64 and not changed[8:].any() and not changed[:, 8:].any()
    assert np.array_equal(ours == image[0, 0].numpy(), whole == image[0, 0].numpy()), "the same patches are filled in"
    assert not np.allclose(ours, whole)
    with torch.no_grad():
        objective.network.head.weight.zero_(), objective.network.head.bias.fill_(0.5)
    filled = reconstruct(objective, {"image": image, "origins": [(0, 0, 0)], "seeds": [0], "mask": mask}, (8, 8, 8))
    assert np.allclose(filled.reconstruction[filled.hidden > 0], 0.5)


def test_inspect_refuses_other_models(tmp_path):
    with pytest.raises(ModelError, match="contains no checkpoint"):
        Pretrained.open(tmp_path)


def test_a_checkpoint_of_another_preset(store, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    settings = short(store)
    settings["encoder"]["dim"] = 24
    with pytest.raises(ModelError, match="a different preset or method"):
        tiny.run(settings, tmp_path / "run")


def test_fewer_scans_than_the_batch(store, tmp_path):
    assert tiny.run(short(store, batch=6), tmp_path) == "finished"
    assert "4 scans are fewer than the batch of 6" in (tmp_path / "log.txt").read_text()


def test_a_vanished_store(store, tmp_path):
    shutil.copytree(store, tmp_path / "store")
    settings = short(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/volumes")
    with pytest.raises(InputError, match="can no longer be read"):
        tiny.run(settings, tmp_path / "run")


def test_a_split_that_leaves_nothing(store, tmp_path):
    (tmp_path / "split.json").write_text('{"train": [], "held_out": ["scan-1"]}')
    with pytest.raises(InputError, match="leaves no scan"):
        tiny.run(short(store, split=str(tmp_path / "split.json")), tmp_path / "run")


def test_sizes_that_do_not_fit(store, tmp_path):
    with pytest.raises(InputError, match="does not suit preset"):
        tiny.run(short(store, crop=[12, 12, 10]), tmp_path)
    with pytest.raises(InputError, match="Invalid network sizes"):
        tiny.run({**short(store), "encoder": {"width": 3}}, tmp_path)
    with pytest.raises(InputError, match="micro-batches of 1 leaves one"):
        tiny.run(short(store, method="rpl", micro_batch=1), tmp_path)


def test_samples_follow_their_number(store):
    opened = ScanStore.open(store)
    source = StoredScans(opened, range(5), FRAME, 4, (8, 8, 8), flip=True, seed=3)
    batch = source.collate([0, 1, 2, 3, 4, 7])
    assert sorted(batch["names"][:5]) == [scan.name for scan in opened.scans], "an epoch shows every scan once"
    assert batch["image"].shape == (6, 1, 8, 8, 8) and all(0 <= o <= 2 for origin in batch["origins"] for o in origin)
    again = StoredScans(opened, range(5), FRAME, 4, (8, 8, 8), flip=True, seed=3).collate([7])
    assert torch.equal(again["image"][0], batch["image"][5]) and again["origins"][0] == batch["origins"][5]


def test_origins_name_the_place_in_the_frame(store):
    """A crop at its origin is what the whole frame has there, also when mirrored."""
    opened = ScanStore.open(store)
    whole = StoredScans(opened, range(5), FRAME, 4, shuffle=False)
    source = StoredScans(opened, range(5), FRAME, 4, (8, 8, 8), flip=True, shuffle=False)
    for index in range(5):
        crop, origin, _ = source.sample(index)
        t, h, w = (slice(4 * o, 4 * o + 8) for o in origin)
        image = whole.sample(index)[0]
        assert torch.equal(crop, image[t, h, w]) or torch.equal(crop, image.flip(-1)[t, h, w])


def test_a_small_store_lies_in_the_middle_of_a_large_frame(store):
    batch = StoredScans(ScanStore.open(store), range(5), (32, 24, 16), 4).collate([0])
    assert batch["origins"] == [(2, 1, 0)] and batch["image"].shape == (1, 1, *FRAME)


def test_synthetic_heads_among_the_scans(tmp_path, monkeypatch):
    store = ScanStore(tmp_path, (160, 192, 160), (0, 0, 0), ())
    scans = StoredScans(store, range(4), (160, 192, 160), 8, (64, 64, 64), flip=True)
    scans.collate = lambda indices: {
        "image": torch.zeros(len(indices), 1, 64, 64, 64),
        "origins": [(0, 0, 0)] * len(indices),
        "seeds": list(indices),
        "names": ["real"] * len(indices),
    }
    np.save(tmp_path / "heads.npy", np.ones((1, 192, 224, 192), np.uint8))
    settings = PretrainSettings(store="x", heads=str(tmp_path / "heads.npy"), synthetic_share=0.5)
    batch = with_synthetic_heads(settings, scans, tmp_path, World(0, 1, torch.device("cpu"))).collate(range(8))
    made = [name.startswith("synthetic") for name in batch["names"]]
    assert 0 < sum(made) < 8
    assert [bool(image.any()) for image in batch["image"]] == made
    # what is drawn for a head is not what its mask is drawn with
    apart = HeadGenerator.sample
    drawn = []
    monkeypatch.setattr(HeadGenerator, "sample", lambda self, *seed: drawn.append(seed) or apart(self, *seed))
    with_synthetic_heads(settings, scans, tmp_path, World(0, 1, torch.device("cpu"))).collate(range(8))
    for seed in drawn:
        assert torch.rand((), generator=generator(*seed)) != torch.rand((), generator=generator(seed[0]))
    # made of label maps, they are kept in the run's folder
    settings.heads = str(tmp_path)
    again = with_synthetic_heads(settings, scans, tmp_path, World(0, 1, torch.device("cpu"))).collate(range(8))
    assert torch.equal(batch["image"], again["image"]) and batch["origins"] == again["origins"]


def test_synthetic_heads_need_the_whole_frame(store, tmp_path):
    with pytest.raises(InputError, match="whole brain frame"):
        tiny.run(short(store, heads=str(tmp_path / "heads.npy")), tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "batch", "micro_batch", "size"), [("rpl", 4, 1, 1), ("jigsaw", 3, 2, 1), ("rpl", 2, 2, 2)]
)
def test_no_micro_batch_of_one_scan_is_normalised(store, tmp_path, method, batch, micro_batch, size):
    values = tiny.settings(store, method=method, batch=batch, micro_batch=micro_batch)
    with pytest.raises(InputError, match="needs at least two scans"):
        pretrain(PretrainSettings.model_validate(values), tmp_path, World(0, size, torch.device("cpu")))
