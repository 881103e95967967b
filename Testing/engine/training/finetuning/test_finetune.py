"""Fine-tuning: from files to a store, samples, first weights, and runs of a few steps on small crops."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from Testing.engine.labelled_files import tumour_head

from asa.cli import build, main
from asa.data.augment import AugmentSettings
from asa.data.case_store import CaseStore, prepare_cases
from asa.data.datasets import DATASETS
from asa.errors import InputError, ModelError, ResourceError
from asa.models import load_network, open_model
from asa.nn import AutoencoderConfig, DecoderConfig, EncoderConfig, inflate_channels
from asa.nn.baselines import NetworkSpec
from asa.pretext import ReconstructionOptions, make_objective
from asa.runs.folder import Run, read_events
from asa.tasks import TASKS
from asa.training import checkpoint
from asa.training.finetuning.crops import LabelledCrops
from asa.training.finetuning.finetune import finetune, fitted, keep_layout
from asa.training.finetuning.memory import candidates, choose_fitting
from asa.training.finetuning.network import layer_scale, make_network
from asa.training.finetuning.objective import SegmentationObjective
from asa.training.finetuning.prediction import in_frame, labels_of_regions
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.finetuning.split import choose_split
from asa.training.finetuning.whole_volume import predict
from asa.training.model_facts import finetuned_facts
from asa.training.optimiser import make_optimiser
from asa.training.parallel.distributed import World
from asa.training.planning.presets import preset
from asa.training.pretraining.pretrained import describe
from asa.training.region_loss import region_deep_supervision, region_masks
from asa.training.settings import read_settings
from asa.volume import Grid, Volume, write_volume

SHAPE = (32, 64, 32)
HERE = World(0, 1, torch.device("cpu"))


def normalisation(store):
    """What model.json will say of a model that is trained on a store."""
    return finetuned_facts({}, {**store.fingerprint(), "split": {"train": 1}})["normalisation"]


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """Five BraTS cases on disk."""
    root = tmp_path_factory.mktemp("brats")
    for seed in range(5):
        tumour_head(root, f"BraTS2021_{seed:05d}", seed)
    return root


@pytest.fixture(scope="session")
def store(heads, tmp_path_factory):
    """The same, prepared."""
    folder = tmp_path_factory.mktemp("store")
    prepare_cases(DATASETS["brats2021"], heads, folder, shape=SHAPE, align=False)
    return folder


@pytest.fixture(scope="session")
def encoder_run(tmp_path_factory):
    """A checkpoint of a pre-training run that never trained."""
    torch.manual_seed(5)
    encoder = EncoderConfig((4, 8, 4), dim=24, depth=4, heads=2, window=8)
    config, options = AutoencoderConfig(encoder, DecoderConfig(24, 1, 2)), ReconstructionOptions()
    objective = make_objective("asa", config, options)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    tensors = {f"model.{name}": value for name, value in objective.state_dict().items()}
    checkpoint.save(path, tensors, {"step": 7, "network": describe("asa", config, options)})
    return path


def settings(store, **changes):
    values = {
        "store": str(store),
        "shares": (3, 1, 1),
        "size": "small",
        "crop": (32, 32, 32),
        "optimisation": {"lr": 3e-3, "steps": 4, "batch": 2, "micro_batch": 1, "precision": "fp32"},
        "schedule": {"log_every": 1, "validate_every": 2, "checkpoint_every": 2},
    }
    return FinetuneSettings.model_validate({**values, **changes})


def test_cases_land_in_the_brain_frame(store):
    opened = CaseStore.open(store)
    assert opened.modalities == ("t1", "t1gd", "t2", "flair")
    assert [case.name for case in opened.cases] == [f"BraTS2021_{i:05d}" for i in range(5)]
    for number, case in enumerate(opened.cases):
        image, labels = opened.read(number)
        assert image.shape == (4, *SHAPE)
        assert image.dtype == np.float16
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        assert {int(k): v for k, v in case.voxels.items()} == {v: int((labels == v).sum()) for v in (1, 2, 3)}
        assert case.cut < 0.05
        value, *place = opened.foreground(number)[0]
        assert labels[tuple(place)] == value


def test_stripped_cases_are_zscored_within_the_brain_and_have_no_rim(tmp_path):
    """A voxel that is brain in part only, as resampling makes it, is none: its low value would spread the z-score."""
    affine = np.array([[0, 0, 4, -46], [0, 4, 0, -63], [4, 0, 0, -41], [0, 0, 0, 1]])
    root, grid = tmp_path / "brats", Grid((24, 24, 24), affine)
    brain = np.zeros(grid.shape, bool)
    brain[4:20, 4:20, 4:20] = True
    name = "BraTS2021_00001"
    (root / name).mkdir(parents=True)
    values = np.random.default_rng(0).normal(1000, 50, grid.shape)
    for suffix in ("t1", "t1ce", "t2", "flair"):
        image = Volume(np.where(brain, values, 0).astype(np.float32), grid)
        write_volume(image, root / name / f"{name}_{suffix}.nii.gz")
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:14, 10:14, 10:14] = 2
    write_volume(Volume(labels, grid), root / name / f"{name}_seg.nii.gz")
    folder = tmp_path / "store"
    store = prepare_cases(DATASETS["brats2021"], root, folder, shape=(128, 128, 128), align=False, stripped=True)
    image, _ = store.read(0)
    inside = image[0][image[0] != 0].astype(np.float32)
    assert inside.size > 200_000 and abs(inside.mean()) < 0.02 and abs(inside.std() - 1) < 0.02
    assert inside.min() > -4.9  # no partial voxels, twenty deviations below
    assert not store.corrected and normalisation(store) == "standardised brain z-score"
    even = prepare_cases(DATASETS["brats2021"], root, tmp_path / "even", align=False, stripped=True, corrected=True)
    assert CaseStore.open(even.folder).corrected, "a model made from this store must be shown corrected images too"
    assert normalisation(even) == "standardised N4, brain z-score"


def test_preparation_goes_on_and_keeps_its_settings(heads, store):
    before = (store / "images" / "BraTS2021_00000.npy").stat().st_mtime_ns
    prepare_cases(DATASETS["brats2021"], heads, store, shape=SHAPE, align=False)
    assert (store / "images" / "BraTS2021_00000.npy").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="started with different settings"):
        prepare_cases(DATASETS["brats2021"], heads, store, shape=SHAPE, align=True)
    with pytest.raises(InputError, match="asa prepare finetune"):
        CaseStore.open(heads)


def test_samples_depend_on_their_index_only_and_foreground_is_found(store):
    opened, s = CaseStore.open(store), settings(store, foreground=1.0, modality_dropout=0.5)
    source = LabelledCrops(opened, [0, 1, 2], (4, 8, 4), s.crops)
    both, alone = source.collate([3, 4]), source.collate([4])
    assert torch.equal(both["image"][1], alone["image"][0])
    assert both["origins"][1] == alone["origins"][0]
    assert both["image"].shape == (2, 4, 32, 32, 32)
    drawn = [source.sample(index) for index in range(12)]
    assert all(labels.any() for _, labels, _, _ in drawn)
    missing = [int((image.flatten(1).abs().sum(1) == 0).sum()) for image, _, _, _ in drawn]
    assert max(missing) > 0
    assert max(missing) < 4


def test_windows_blend_to_one():
    def network(image, origin):
        return image[:, :1] * 0 + 1

    found = predict(network, torch.zeros(2, *SHAPE), (32, 32, 32), (4, 8, 4), lambda x: x, torch.device("cpu"))
    assert torch.allclose(found, torch.ones(1, *SHAPE), atol=1e-6)


def test_encoder_starts_from_pretraining_with_an_inflated_embedding(store, encoder_run):
    spec = NetworkSpec("asa", 4, 4, (32, 32, 32), "small", (4, 8, 4))
    network, frame, description = make_network(settings(store, init=str(encoder_run), freeze_encoder=True), spec)
    tensors, _ = checkpoint.load(encoder_run)
    own = network.encoder.state_dict()
    assert frame == (4, 8, 4)
    assert description["encoder"]["dim"] == 24
    assert torch.equal(own["embed.weight"], inflate_channels(tensors["model.network.encoder.embed.weight"], 4))
    assert torch.equal(own["blocks.1.mlp.0.weight"], tensors["model.network.encoder.blocks.1.mlp.0.weight"])
    assert not any(p.requires_grad for p in network.encoder.parameters())
    assert all(p.requires_grad for p in network.ups.parameters())
    with pytest.raises(InputError, match="unetr"):
        make_network(settings(store, init=str(encoder_run), network="unetr"), spec)
    with pytest.raises(ModelError, match=r"4 blocks .* needs 9 blocks or more"):
        make_network(settings(store, init=str(encoder_run), size="paper"), NetworkSpec("asa", 4, 4))


def test_a_run_validates_whole_volumes_and_can_be_exported(store, encoder_run, tmp_path, monkeypatch):
    run, phases = tmp_path / "run", []
    phase = lambda: json.loads((run / "state.json").read_text())["phase"]  # noqa: E731

    def calibrate(*_args):
        phases.append(phase())
        return {"temperature": 1.0, "cases": []}

    monkeypatch.setattr("asa.training.finetuning.finetune.calibrate", calibrate)
    assert finetune(settings(store, init=str(encoder_run)), run, HERE) == "finished"
    assert [*phases, phase()] == ["running", "finished"]  # who publishes it at once must not miss the temperature
    validations = [event for event in read_events(run / "events.jsonl") if event["event"] == "validation"]
    assert [event["step"] for event in validations] == [2, 4]
    assert {"dice WT", "dice TC", "dice ET", "score"} <= set(validations[0])
    description = tmp_path / "model.json"
    values = {"name": "tiny", "task": "tumour", "modalities": ["t1", "t1gd", "t2", "flair"]}
    description.write_text(json.dumps(values))
    arguments = ["export", str(run), "-o", str(tmp_path / "model"), "--description", str(description)]
    build()(args=arguments, standalone_mode=False)
    assert load_network(open_model(tmp_path / "model")).config.encoder.in_channels == 4


def test_a_run_that_was_stopped_continues_as_if_it_never_was(store, tmp_path, monkeypatch):
    finetune(settings(store), tmp_path / "whole", HERE)
    collate = LabelledCrops.collate

    def failing(self, indices):
        if indices[0] >= 4:
            raise InputError("the disk is gone")
        return collate(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(LabelledCrops, "collate", failing)
        with pytest.raises(InputError, match="the disk is gone"):
            finetune(settings(store), tmp_path / "halves", HERE)
    assert finetune(settings(store), tmp_path / "halves", HERE) == "finished"
    whole, _ = checkpoint.load(tmp_path / "whole" / "checkpoints" / "last.safetensors")
    halves, _ = checkpoint.load(tmp_path / "halves" / "checkpoints" / "last.safetensors")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def measured(run):
    """Losses of steps and scores of validations, in their order."""
    events = read_events(run / "events.jsonl")
    return [event[name] for event in events for name in ("loss", "score") if name in event]


@pytest.mark.slow
def test_two_processes_equal_one(store, tmp_path):
    finetune(settings(store), tmp_path / "one", HERE)
    config = tmp_path / "finetune.yaml"
    config.write_text(yaml.safe_dump(settings(store).model_dump(mode="json")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "asa", "finetune", str(config), "-o", str(tmp_path / "two"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = measured(tmp_path / "one"), measured(tmp_path / "two")
    assert len(one) == 6  # four steps, two validations
    assert two == pytest.approx(one, rel=1e-3)


def test_layers_of_the_encoder_are_frozen_or_slowed(store, encoder_run):
    spec = NetworkSpec("asa", 4, 4, (32, 32, 32), "small", (4, 8, 4))
    network, _, _ = make_network(settings(store, init=str(encoder_run), freeze_blocks=2), spec)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"embed", "blocks"}
    assert {name.split(".")[2] for name in frozen if ".blocks." in name} == {"0", "1"}
    with pytest.raises(InputError, match="freeze_blocks is 5"):
        make_network(settings(store, freeze_blocks=5), spec)  # it has 4
    with pytest.raises(InputError, match="layer_decay need"):
        make_network(settings(store, network="nnformer", layer_decay=0.5), spec)
    scales = {"network.encoder.embed.weight": 5, "network.encoder.blocks.0.norm1.weight": 4}
    scales |= {"network.encoder.blocks.3.norm1.weight": 1, "network.encoder.norm.weight": 0, "network.stem.x": 0}
    for name, power in scales.items():
        assert layer_scale(name, 4, 0.5) == 0.5**power
    objective = SegmentationObjective(network)
    optimiser = make_optimiser(objective, settings(store).optimisation, lambda name: layer_scale(name, 4, 0.5))
    assert {group["lr_scale"] for group in optimiser.param_groups} == {1.0, 0.5, 0.25}  # blocks 0 and 1 are frozen
    trained = sum(p.requires_grad for p in objective.parameters())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == trained


def test_a_step_is_made_to_fit_into_memory():
    tried = []

    def attempt(micro_batch, crop):
        tried.append((micro_batch, crop))
        if micro_batch * crop[0] * crop[1] * crop[2] > 96**3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    options = list(candidates(4, (128, 128, 96), may_crop=True))
    assert choose_fitting(options, attempt, HERE) == (1, (96, 96, 96))
    assert tried == [(4, (128, 128, 96)), (2, (128, 128, 96)), (1, (128, 128, 96)), (1, (96, 96, 96))]
    with pytest.raises(ResourceError, match="1 crop of 128x128x96 voxels does not fit"):
        choose_fitting(list(candidates(4, (128, 128, 96), may_crop=False)), attempt, HERE)


def test_a_run_is_fitted_with_a_real_step_and_says_so(store, tmp_path, monkeypatch):
    """The step that is tried is the training's own; only the device and the shortage are pretended."""

    def short_of_memory(options, attempt, world):
        attempt(*options[-1])
        return options[-1]

    monkeypatch.setattr("asa.training.finetuning.finetune.choose_fitting", short_of_memory)
    asked = settings(store, optimisation={"micro_batch": 2, "batch": 2, "precision": "fp32"})
    world = World(0, 1, torch.device("meta"))
    assert fitted(asked, CaseStore.open(store), tmp_path, HERE) == (asked, "")
    monkeypatch.setattr("asa.training.finetuning.finetune.wants_bf16", lambda *_: False)
    found, said = fitted(asked, CaseStore.open(store), tmp_path, world)
    assert (found.optimisation.micro_batch, found.optimisation.batch, found.crop) == (1, 2, (32, 32, 32))
    assert said.startswith("A micro-batch of 2 crops of 32x32x32 voxels does not fit")


def test_regions_become_labels_the_smallest_winning():
    shown = np.zeros((3, 2, 2, 2), bool)  # WT, TC, ET
    shown[0], shown[1, 0], shown[2, 0, 0] = True, True, True
    assert labels_of_regions(shown, TASKS["tumour"]).tolist() == [[[3, 3], [1, 1]], [[2, 2], [2, 2]]]


def test_a_posterior_of_the_middle_lies_in_the_middle_of_the_frame():
    posterior = np.zeros((2, 32, 64, 32), np.float32)
    posterior[1] = 1
    whole = in_frame(posterior, by_region=False)
    assert whole[1].sum() == posterior[1].size
    assert whole[:, 64, 64, 64].tolist() == [0, 1]
    assert whole[:, 0, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("network", ["nnformer", "transbts"])
def test_a_compared_system_is_trained_by_the_same_trainer(store, tmp_path, network):
    optimisation = {"optimiser": "sgd", "steps": 1, "batch": 2, "precision": "fp32"}
    run = settings(store, network=network, output="regions", optimisation=optimisation, schedule={"validate_every": 1})
    assert finetune(run, tmp_path, HERE) == "finished"
    _, record = checkpoint.load(tmp_path / "checkpoints" / "best.safetensors")
    assert record["network"]["name"] == network
    assert record["network"]["classes"] == 3


def test_region_loss_is_zero_for_a_perfect_answer_and_weighs_levels():
    regions = [region.values for region in TASKS["tumour"].regions]
    target = torch.randint(0, 4, (2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    masks = region_masks(target, regions)
    assert torch.equal(masks[:, 0], target > 0)
    assert torch.equal(masks[:, 1], (target == 1) | (target == 3))
    perfect = (masks.float() - 0.5) * 100
    assert float(region_deep_supervision([perfect, perfect[..., ::2, ::2, ::2]], target, regions)["loss"]) < 1e-4
    assert float(region_deep_supervision([-perfect], target, regions)["loss"]) > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": (64, 64, 64)}, "does not fit cases"),
        ({"fold": 3}, "fold 3"),
        ({"shares": (1, 1, 1)}, "never redrawn silently"),
        ({"network": "vnet"}, "Unknown network"),
    ],
)
def test_what_cannot_work_is_said_before_training(store, tmp_path, changes, message):
    choose_split(settings(store), CaseStore.open(store))
    with pytest.raises(InputError, match=message):
        finetune(settings(store, **changes), tmp_path / "run", HERE)


def test_a_split_of_other_cases_stops_the_command(store, tmp_path, capsys):
    config, split = tmp_path / "finetune.yaml", tmp_path / "split.json"
    fold = {"train": ["BraTS2021_00000", "gone"], "validation": [], "test": ["lost"]}
    split.write_text(json.dumps({"folds": [fold]}))
    config.write_text(yaml.safe_dump(settings(store, split=str(split)).model_dump(mode="json")))
    with pytest.raises(SystemExit, match="3"):
        main(["finetune", str(config), "-o", str(tmp_path / "run"), "--device", "cpu"])
    said = capsys.readouterr().err
    assert all(f"{name} is not among the cases" in said for name in ("gone", "lost"))
    assert all(f"BraTS2021_0000{number} is in no part" in said for number in (1, 2, 3, 4))
    assert not (tmp_path / "run").exists()


def test_commands(heads, tmp_path, capsys):
    store = tmp_path / "store"
    arguments = ["prepare", "finetune", "--data", str(heads), "--dataset", "brats2021", "--aligned", "--modalities"]
    build()(args=[*arguments, "t1,flair", "-o", str(store)], standalone_mode=False)
    assert "5 cases" in capsys.readouterr().out
    config = tmp_path / "finetune.yaml"
    config.write_text(
        "store: elsewhere\nnetwork: asa\nsize: small\ncrop: [32, 32, 32]\nshares: [4, 0, 1]\n"
        "optimisation: {steps: 1, precision: fp32}\n"
    )
    run = ["finetune", str(config), "-o", str(tmp_path / "run"), "--store", str(store), "--device", "cpu"]
    build()(args=run, standalone_mode=False)
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").is_file()
    assert len(json.loads((store / "split.json").read_text())["folds"][0]["train"]) == 4


def test_a_run_of_an_earlier_version_keeps_its_layout(tmp_path):
    settings = FinetuneSettings(store="brats")
    assert keep_layout(settings, tmp_path / "new").layout == "released"
    for recorded, layout in (({}, "own"), ({"layout": "released"}, "released"), ({"layout": "own"}, "own")):
        Run.create(tmp_path / f"{layout}{len(recorded)}", "finetuning", recorded, {})
        assert keep_layout(settings, tmp_path / f"{layout}{len(recorded)}").layout == layout


def test_the_published_configuration_is_the_default(repository):
    import yaml
    from Testing.repository.test_house_rules import REPOSITORY

    path = REPOSITORY / "Resources" / "Configs" / "finetune_paper.yaml"
    written, published = read_settings(path, FinetuneSettings), preset("finetune", "paper", store="brats")
    written.foreground = published.foreground
    assert written == published
    assert published.model_copy(update={"augment": AugmentSettings()}) == FinetuneSettings(store="brats")
    assert yaml.safe_load(path.read_text())["optimisation"]["steps"] == 1000 * 250
