"""Training of the lesion models: what a sample is, what a run starts from, and that it goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from asa.data.case_store import CaseStore, StoredCase
from asa.data.datasets import dataset_by_name
from asa.errors import InputError
from asa.geometry import FRAME
from asa.models import find_model, load_network
from asa.nn import Segmenter, segmenter_preset
from asa.runs.folder import read_events
from asa.seeds import sample_seed
from asa.synth import to_structures
from asa.synth.diseased import DiseasedHeads, WhiteMatterLesions
from asa.synth.heads import MARGIN
from asa.training import checkpoint
from asa.training.parallel.distributed import World
from asa.training.region_loss import region_deep_supervision
from asa.training.settings import read_settings
from asa.training.synthetic.lesion_samples import (
    CUT_MARGIN,
    HealthyCrops,
    MixedCrops,
    RealCrops,
    cut_off,
    real_sources,
    show_some,
    training_cases,
)
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.lesions import train_lesions
from asa.training.synthetic.start import transfer
from asa.training.synthetic.tissue import TissueSettings, train_tissue

REPOSITORY = Path(__file__).parents[4]
CROP = (32, 32, 32)
WORLD = World(0, 1, torch.device("cpu"))


def settings(folder: Path, **changes: object) -> LesionSettings:
    values: dict[str, object] = {
        "task": "wmh",
        "label_maps": str(folder),
        "crop": CROP,
        "held_out": 0,
        "optimisation": {"steps": 2, "batch": 1, "micro_batch": 1, "ema": 0.9, "precision": "fp32"},
        "schedule": {"log_every": 1, "checkpoint_every": 1, "validate_every": 0},
    }
    return LesionSettings.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """One ball of a head with ventricles, in the frame with its margin."""
    shape = np.array(FRAME.shape) + 2 * MARGIN
    grid = np.ogrid[tuple(slice(-n / 2, n / 2) for n in shape)]
    radius = np.sqrt(sum(g.astype(np.float32) ** 2 for g in grid))
    labels = np.zeros(shape, np.int64)
    for limit, value in ((70, 3), (60, 2), (12, 4)):
        labels[radius < limit] = value
    return to_structures(labels)[None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """Two cases of T1 and FLAIR with one bright lesion, stripped: 0 in the outer 60 voxels."""
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    cases = []
    for name in ("anna", "ben"):
        image = np.zeros((2, *FRAME.shape), np.float16)
        image[:, 60:100, 60:130, 60:100] = rng.normal(0, 0.5, (2, 40, 70, 40))
        labels = np.zeros(FRAME.shape, np.uint8)
        labels[75:85, 90:100, 70:80] = 1
        image[1][labels > 0] = 3
        places = np.insert(np.argwhere(labels), 0, 1, axis=1).astype(np.int16)
        for kind, array in (("images", image), ("labels", labels), ("foreground", places)):
            (folder / kind).mkdir(exist_ok=True)
            np.save(folder / kind / f"{name}.npy", array)
        cases.append(StoredCase(name, name, {"1": 1000}, 1.0, 0.0))
    records = [dataclasses.asdict(case) for case in cases]
    index = {
        "format": 1,
        "dataset": "wmh",
        "modalities": ["t1", "flair"],
        "shape": list(FRAME.shape),
        "align": False,
        "cases": records,
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return CaseStore(folder, dataset_by_name("wmh"), ("t1", "flair"), tuple(cases), FRAME.shape)


def test_every_subset_of_modalities_is_shown_and_never_none():
    rng = torch.Generator().manual_seed(0)
    image = torch.ones(4, 2, 2, 2)
    seen = {tuple(show_some(rng, image, 1.0)[:, 0, 0, 0].tolist()) for _ in range(300)}
    assert len(seen) == 15 and (0.0, 0.0, 0.0, 0.0) not in seen
    assert all(torch.equal(show_some(rng, image, 0.0), image) for _ in range(20))


def test_one_modality_may_end_at_a_plane():
    rng = torch.Generator().manual_seed(0)
    image = torch.ones(2, 8, 8, 8)
    image[:, :, :, :2] = 0
    assert torch.equal(cut_off(rng, image, 0.0), image)
    for _ in range(20):
        changed = cut_off(rng, image, 1.0)
        touched = (changed != image).flatten(1).any(1)
        assert touched.sum() <= 1 and (changed[:, :, :, :2] == 0).all()
        assert set(changed[changed != image].tolist()) <= {*changed[changed <= 0].tolist()}
    assert (image[:, :, :, 2:] == 1).all()  # what was given stays


def test_a_missed_voxel_costs_its_weight_and_healthy_ones_do_not():
    logits, target = torch.full((1, 1, 4, 4, 4), -2.0), torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    healthy = [float(region_deep_supervision([logits], target, [(1,)], w)["cross_entropy"]) for w in (1.0, 4.0)]
    target[0, 0, 0, 0] = 1
    missed = [float(region_deep_supervision([logits], target, [(1,)], w)["cross_entropy"]) for w in (1.0, 4.0)]
    assert healthy[0] == pytest.approx(healthy[1])
    one = torch.nn.functional.softplus(torch.tensor(2.0)) / 64
    assert missed[1] - missed[0] == pytest.approx(3 * float(one), rel=1e-4)


def test_real_crops_keep_an_empty_background_and_the_lesion_bright(store, tmp_path):
    crops = RealCrops(store, [0], (20, 24, 20), settings(tmp_path, store=str(store.folder), foreground=1.0))
    seen = 0
    for index in range(6):
        image, labels, _, name = crops.sample(index)
        assert name == "anna" and image.shape == (2, *CROP)
        again = crops.sample(index)[0]
        assert torch.equal(image, again)
        outside = (image == 0).all(0)
        assert not labels[outside].any()
        if labels.any():
            seen += 1
            assert image[1][labels > 0].mean() > image[1][(labels == 0) & ~outside].mean() + 1
    assert seen >= 4


def test_a_run_with_another_seed_sees_other_samples(heads, store, tmp_path):
    def first(seed: int) -> list[torch.Tensor]:
        run = settings(tmp_path, store=str(store.folder), optimisation={"steps": 2, "seed": seed})
        synthetic = DiseasedHeads(heads, FRAME.shape, CROP, WhiteMatterLesions(), ("t1", "flair"))
        mixed = MixedCrops(synthetic, None, run, sample_seed(seed, 0))
        return [RealCrops(store, [0, 1], (20, 24, 20), run).sample(0)[0], mixed.sample(0)[0]]

    for one, again, other in zip(first(1), first(1), first(2), strict=True):
        assert torch.equal(one, again) and not torch.equal(one, other)


def test_cases_of_another_disease_are_healthy_once_it_is_cut_out(store, tmp_path):
    run = settings(tmp_path, healthy_store=str(store.folder), implant_share=0.0, bias=0.0)
    real, healthy = real_sources(run)
    assert real is None and healthy is not None
    _, labels = store.read(0)
    lesion = torch.from_numpy(labels.astype("int64"))[8 : 8 + CROP[0], 8 : 8 + CROP[1], 8 : 8 + CROP[2]]
    lesion[2:5, 2:5, 2:5] = 1
    image, left = healthy.alter(torch.Generator().manual_seed(0), torch.ones(2, *CROP), lesion)
    assert not left.any() and not image[:, lesion > 0].any()
    assert not image[:, : 5 + CUT_MARGIN, 3, 3].any() and image[:, 5 + CUT_MARGIN, 3, 3].all()
    drawn = [healthy.sample(index) for index in range(16)]
    assert not any(labels.any() for _, labels, _, _ in drawn) and any(image.any() for image, _, _, _ in drawn)
    implanted = run.model_copy(update={"implant_share": 1.0})
    more = HealthyCrops(store, (20, 24, 20), implanted)
    assert any(more.sample(index)[1].any() for index in range(100))


def test_the_share_of_real_samples_is_kept(store, tmp_path):
    class Fake:
        def sample(self, seed: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int, int]]:
            return torch.full((2, 2, 2, 2), float(seed)), torch.zeros(2, 2, 2), (0, 0, 0)

    class FakeReal:
        def sample(self, index: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int, int], str]:
            return torch.full((2, 2, 2, 2), -1.0), torch.zeros(2, 2, 2), (0, 0, 0), "anna"

    mixed = MixedCrops(Fake(), FakeReal(), settings(tmp_path, real_share=0.7, missing=0.0, cut=0.0), 1000)
    real = sum(bool((mixed.sample(index)[0] < 0).all()) for index in range(300))
    assert 0.6 < real / 300 < 0.8

    class FakeHealthy(FakeReal):
        def sample(self, index: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int, int], str]:
            return torch.full((2, 2, 2, 2), -2.0), torch.zeros(2, 2, 2), (0, 0, 0), "ben"

    shares = settings(tmp_path, real_share=0.5, healthy_share=0.6, missing=0.0, cut=0.0)
    drawn = [float(MixedCrops(Fake(), FakeReal(), shares, 1000, FakeHealthy()).sample(i)[0].max()) for i in range(300)]
    assert 0.22 < drawn.count(-2.0) / 300 < 0.38 and 0.13 < drawn.count(-1.0) / 300 < 0.27
    drawn = [float(MixedCrops(Fake(), None, shares, 1000, FakeHealthy()).sample(i)[0].max()) for i in range(100)]
    assert 35 < drawn.count(-2.0) < 65 and drawn.count(-1.0) == 0
    alone = MixedCrops(Fake(), None, settings(tmp_path, missing=0.0, cut=0.0), 1000)
    assert [float(alone.sample(i)[0].max()) for i in range(3)] == [1000, 1001, 1002]


def test_a_fold_trains_on_its_own_cases(store, tmp_path):
    names = ("ben", "anna"), ("anna", "ben")
    folds = [{"train": [train], "validation": [], "test": [test]} for train, test in names]
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"format": 1, "folds": folds}), encoding="utf-8")
    assert training_cases(str(split), 0, store) == [1]
    assert training_cases(str(split), 1, store) == [0]
    assert training_cases("", 0, store) == [0, 1]
    with pytest.raises(InputError, match="2 folds; fold 2"):
        training_cases(str(split), 2, store)


def test_the_recipes_are_settings(monkeypatch):
    monkeypatch.setenv("ASA_DATA", "data")
    recipes = [p for task in ("wmh", "tumour") for p in (REPOSITORY / "Resources" / "Configs").glob(f"{task}_*.yaml")]
    assert len(recipes) == 2
    for path in recipes:
        assert read_settings(path, LesionSettings).task == path.name.split("_")[0]


def test_weights_of_the_tissue_model_are_taken_over():
    network = Segmenter(segmenter_preset("starter", in_channels=2, classes=1, subpixel=True))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    count = transfer(network, "tissue", ("t1", "flair"))
    known, now = load_network(find_model("tissue")).state_dict(), network.state_dict()
    assert 0.9 * len(now) < count < len(now)
    name = "encoder.blocks.0.mlp.0.weight"
    name = name if name in known else next(k for k in known if k.startswith("encoder.blocks") and known[k].ndim == 2)
    assert torch.equal(now[name], known[name]) and not torch.equal(before[name], known[name])
    # equal channels give the code that one of them gave alone
    one, two = known["encoder.embed.weight"], now["encoder.embed.weight"]
    assert torch.allclose(two[:, :512] + two[:, 512:], one)
    assert torch.equal(before["heads.0.weight"], now["heads.0.weight"])


def test_a_model_of_more_modalities_gives_the_channels_and_the_output_that_are_asked_for(tmp_path):
    torch.manual_seed(0)
    config = segmenter_preset("starter", in_channels=4, classes=3, subpixel=True)
    wide = Segmenter(config).eval()
    save_file({k: v.contiguous() for k, v in wide.state_dict().items()}, tmp_path / "model.safetensors")
    described = {"format": 1, "name": "wide", "task": "tumour", "modalities": ["t1", "t1gd", "t2", "flair"]}
    described["network"] = config.to_dict()
    (tmp_path / "model.json").write_text(json.dumps(described), encoding="utf-8")
    narrow = Segmenter(segmenter_preset("starter", in_channels=2, classes=1, subpixel=True)).eval()
    assert transfer(narrow, str(tmp_path), ("t1", "flair")) == len(narrow.state_dict())
    image = torch.zeros(1, 4, 32, 32, 32)
    image[:, [0, 3]] = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        assert torch.allclose(narrow(image[:, [0, 3]]), wide(image)[:, :1], atol=1e-4)


def test_a_run_starts_from_the_tissue_model_stops_and_goes_on(heads, store, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "heads.npy", heads)
    plain = settings(tmp_path, store=str(store.folder), real_share=0.5)
    assert train_lesions(plain, run, WORLD) == "finished"
    _, record = checkpoint.load(run / "checkpoints" / "last.safetensors")
    assert record["network"]["subpixel"] and record["step"] == 2
    longer = plain.model_copy(update={"optimisation": plain.optimisation.model_copy(update={"steps": 3})})
    assert train_lesions(longer, run, WORLD) == "finished"
    events = list(read_events(run / "events.jsonl"))
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2, 3]
    assert any(e["event"] == "resume" and e["step"] == 2 for e in events)
    # a second run from that checkpoint begins with its averaged weights
    still = plain.optimisation.model_copy(update={"steps": 1, "lr": 1e-12, "weight_decay": 0.0})
    start = settings(
        tmp_path, init=str(run / "checkpoints" / "last.safetensors"), optimisation=still.model_dump(mode="json")
    )
    second = tmp_path / "second"
    second.mkdir()
    np.save(second / "heads.npy", heads)
    train_lesions(start, second, WORLD)
    first, _ = checkpoint.load(run / "checkpoints" / "last.safetensors")
    after, _ = checkpoint.load(second / "checkpoints" / "last.safetensors")
    assert torch.equal(first["model.network.stem.norm.running_mean"], torch.zeros(32))  # statistics are frozen
    name = "ups.1.block.conv.weight"
    assert torch.allclose(first[f"average.{name}"], after[f"average.{name}"], atol=1e-6)


def test_tissue_goes_on_from_its_model_and_keeps_the_frozen_statistics(heads, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "heads.npy", heads)
    given = settings(tmp_path).model_dump(include={"label_maps", "crop", "held_out", "optimisation", "schedule"})
    for frozen in (True, False):
        plain = TissueSettings.model_validate({**given, "init": "tissue", "frozen_norm": frozen})
        assert train_tissue(plain, run, WORLD) == "finished"
        tensors, _ = checkpoint.load(run / "checkpoints" / "last.safetensors")
        known = load_network(find_model("tissue")).state_dict()
        names = [name for name in known if name.endswith("running_mean")]
        same = [torch.equal(tensors[f"model.network.{name}"], known[name]) for name in names]
        assert all(same) if frozen else not any(same)
        assert not torch.equal(tensors["model.network.heads.0.weight"], known["heads.0.weight"])
        (run / "checkpoints" / "last.safetensors").unlink()


def test_a_network_of_others_trains_on_the_same_samples(heads, tmp_path):
    pytest.importorskip("monai")
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "heads.npy", heads)
    one = {"steps": 1, "batch": 1, "micro_batch": 1}
    assert train_lesions(settings(tmp_path, network="segresnet", optimisation=one), run, WORLD) == "finished"
    _, record = checkpoint.load(run / "checkpoints" / "last.safetensors")
    assert record["network"]["name"] == "segresnet" and record["network"]["size"] == "small"


def test_a_store_of_other_channels_is_refused(heads, store, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    np.save(run / "heads.npy", heads)
    with pytest.raises(InputError, match="must contain t1, t1gd, t2, flair"):
        train_lesions(settings(tmp_path, task="tumour", store=str(store.folder)), run, WORLD)


def test_real_cases_alone_need_no_label_maps(store, tmp_path):
    alone = settings(tmp_path, store=str(store.folder), label_maps="", init="", real_share=1, position="sinusoid")
    assert train_lesions(alone, tmp_path / "run", WORLD) == "finished"
    _, record = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert record["network"]["encoder"]["position"] == "sinusoid"
    with pytest.raises(InputError, match="Without label_maps a run needs a store and real_share: 1"):
        train_lesions(alone.model_copy(update={"real_share": 0.5}), tmp_path / "other", WORLD)
    assert not (tmp_path / "other").exists()
