"""The training loop: what it saves, when it stops, and what it says when something is wrong."""

from __future__ import annotations

import errno
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from asa.cli import build
from asa.errors import InputError, ModelError, OutputError
from asa.files import sha256
from asa.models import open_model
from asa.runs.folder import Run, read_events
from asa.training import checkpoint
from asa.training.parallel.distributed import World
from asa.training.publishing.export import export_model, halve
from asa.training.settings import Optimisation, Schedule, learning_rate
from asa.training.trainer import Objective, Trainer, TrainingDiverged

ALONE = World(0, 1, torch.device("cpu"))


class Line(Objective):
    """Fits y = 3x; reports nothing else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)

    def forward(self, batch):
        return {"loss": (self.network(batch["x"]) - 3 * batch["x"]).square().mean()}


class Numbers:
    """Sample i is i/10; some are not numbers, or not there."""

    def __init__(self, bad: int = -1, missing: int = -1) -> None:
        self.bad, self.missing = bad, missing
        self.asked: list[int] = []

    def collate(self, indices):
        self.asked += indices
        if self.missing in indices:
            raise InputError("scan 'scan-9' of the store can no longer be read: No such file")
        values = [math.nan if i == self.bad else (i % 8) / 10 for i in indices]
        return {"x": torch.tensor(values)[:, None], "names": [f"scan-{i}" for i in indices]}


def make(folder, source=None, *, describe=None, validate=None, world=ALONE, schedule=None, **changes) -> Trainer:
    values = {"lr": 0.05, "steps": 8, "batch": 4, "micro_batch": 2, "precision": "fp32"}
    optimisation = Optimisation(**{**values, **changes})
    return Trainer(
        Line(),
        source or Numbers(),
        optimisation,
        schedule or Schedule(log_every=1, checkpoint_every=2, validate_every=2),
        Run.create(folder, "line", {}, {}),
        world,
        describe=describe or {"preset": "line"},
        validate=validate,
    )


def events(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def test_a_run_folder(tmp_path):
    assert make(tmp_path).fit() == "finished"
    steps = events(tmp_path, "step")
    assert [event["step"] for event in steps] == list(range(1, 9))
    assert {"loss", "lr", "seconds", "samples_per_second", "remaining_s", "memory_gib"} <= steps[0].keys()
    assert json.loads((tmp_path / "state.json").read_text())["phase"] == "finished"
    record = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert record["kind"] == "line" and "torch" in record["versions"]


def test_every_sample_once_and_in_order(tmp_path):
    source = Numbers()
    make(tmp_path, source).fit()
    assert source.asked == list(range(32))


def test_accumulation_equals_one_large_batch(tmp_path):
    runs = {}
    for micro_batch in (1, 3, 4):
        folder = tmp_path / str(micro_batch)
        make(folder, micro_batch=micro_batch).fit()
        runs[micro_batch] = [event["loss"] for event in events(folder, "step")]
    assert runs[1] == pytest.approx(runs[4], rel=1e-5) and runs[3] == pytest.approx(runs[4], rel=1e-5)


def test_a_loss_that_is_no_number_names_the_scan(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"loss became nan .* at step 4 with scan-18\. The last good"):
        make(tmp_path, Numbers(bad=18)).fit()
    tensors, record = checkpoint.load(tmp_path / "checkpoints/last.safetensors")
    assert record["step"] == 4 and all(t.isfinite().all() for t in tensors.values())
    assert events(tmp_path, "diverged")[0]["names"] == ["scan-18"]
    assert json.loads((tmp_path / "state.json").read_text())["phase"] == "failed"


def test_data_that_vanishes_half_way(tmp_path):
    with pytest.raises(InputError, match="scan 'scan-9' of the store can no longer be read"):
        make(tmp_path, Numbers(missing=21)).fit()
    assert checkpoint.load(tmp_path / "checkpoints/last.safetensors")[1]["step"] == 5
    assert "scan-9" in events(tmp_path, "end")[0]["reason"]
    again = make(tmp_path)
    assert again.resume() and again.step == 5 and again.fit() == "finished"


def test_data_that_vanishes_while_it_is_validated(tmp_path):
    """Validated is the average of weights; what is saved are still the weights that are trained."""

    def validate(_network):
        raise InputError("a held-out case can no longer be read")

    with pytest.raises(InputError, match="held-out case"):
        make(tmp_path / "broken", ema=0.9, validate=validate).fit()
    make(tmp_path / "whole", ema=0.9, schedule=Schedule(log_every=1, keep_every=2)).fit()
    broken, _ = checkpoint.load(tmp_path / "broken/checkpoints/last.safetensors")
    whole, _ = checkpoint.load(tmp_path / "whole/checkpoints/step_000002.safetensors")
    assert all(torch.equal(broken[name], whole[name]) for name in whole)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_every_process_validates_what_the_main_one_saves(tmp_path, monkeypatch, ema):
    """Each process has batch statistics of its own samples."""
    seen = []

    def validate(network):
        seen.append(network[1].running_mean.tolist())
        return {"score": 0.0}

    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, _source: tensor.fill_(7))
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _tensor: None)
    trainer = make(tmp_path, validate=validate, world=World(1, 2, torch.device("cpu")))
    trainer.objective.network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))
    trainer.optimisation = trainer.optimisation.model_copy(update={"ema": ema})
    trainer.restart_average()
    trainer.validate()
    assert seen == [[7.0]]


def test_a_run_whose_last_checkpoint_cannot_be_written_has_failed(tmp_path, monkeypatch):
    """It must not be called finished: what is published of it would be an earlier state."""

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = make(tmp_path)
    trainer.on_step = lambda step: monkeypatch.setattr(checkpoint, "save_file", full) if step == 7 else None
    with pytest.raises(OutputError, match="no space left on device"):
        trainer.fit()
    assert json.loads((tmp_path / "state.json").read_text())["phase"] == "failed"
    monkeypatch.undo()
    resumed = make(tmp_path)
    assert resumed.resume() and resumed.fit() == "finished"


def test_a_full_disk_is_survived(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = make(tmp_path)
    save = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", full)
    trainer.validation = lambda _network: {"score": float(trainer.step)}
    trainer.on_step = lambda step: monkeypatch.setattr(checkpoint, "save_file", save if step > 4 else full)
    assert trainer.fit() == "finished"
    assert "no space left on device" in (tmp_path / "log.txt").read_text().lower()
    assert checkpoint.load(tmp_path / "checkpoints/last.safetensors")[1]["step"] == 8


@pytest.mark.parametrize(("failing", "outcome"), [(4, "finished"), (8, "failed")])
def test_best_weights_that_cannot_be_written_are_not_called_the_best(tmp_path, monkeypatch, failing, outcome):
    """The next validation that beats the file must write it, in this run or in the one that resumes it."""
    scores, save = {2: 0.1, 4: 0.9, 6: 0.5, 8: 0.4}, checkpoint.save

    def full(path, tensors, record):
        if path.name == "best.safetensors" and record["step"] == failing:
            raise OutputError("Cannot write it: no space left on device.")
        save(path, tensors, record)

    monkeypatch.setattr(checkpoint, "save", full)
    schedule = Schedule(log_every=1, checkpoint_every=1, validate_every=2)
    trainer = make(tmp_path, schedule=schedule)
    trainer.validation = lambda _network: {"score": scores[trainer.step] + (failing == 8) * (trainer.step == 8)}
    if outcome == "failed":
        with pytest.raises(OutputError):
            trainer.fit()
        monkeypatch.undo()
        trainer = make(tmp_path, schedule=schedule)
        trainer.validation = lambda _network: {"score": 1.4}
        assert trainer.resume()
        assert trainer.fit() == "finished"
    else:
        assert trainer.fit() == "finished"
    best = checkpoint.load(tmp_path / "checkpoints/best.safetensors")[1]
    assert best["step"] == (6 if failing == 4 else 8)
    assert checkpoint.load(tmp_path / "checkpoints/last.safetensors")[1]["best"] == best["best"]


def test_best_is_kept_and_patience_ends_the_run(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3])
    schedule = Schedule(log_every=1, checkpoint_every=1, validate_every=2, patience=2)
    trainer = make(tmp_path, schedule=schedule, steps=100, validate=lambda _network: {"score": next(scores)})
    assert trainer.fit() == "early" and trainer.step == 8
    assert checkpoint.load(tmp_path / "checkpoints/best.safetensors")[1]["step"] == 4


def test_patience_does_not_end_a_run_within_its_warm_up(tmp_path):
    schedule = Schedule(log_every=1, checkpoint_every=1, validate_every=2, patience=2)
    flat = {"schedule": schedule, "steps": 100, "validate": lambda _network: {"score": 1.0}}
    trainer = make(tmp_path, warmup_steps=10, **flat)
    assert trainer.fit() == "early" and trainer.step == 14


def test_adam_resumes_as_if_it_had_not_stopped(tmp_path):
    whole = make(tmp_path / "whole", optimiser="adam")
    whole.fit()
    stopped = make(tmp_path / "parts", optimiser="adam")
    stopped.run.stop_path.touch()
    assert stopped.fit() == "stopped"
    again = make(tmp_path / "parts", optimiser="adam")
    assert again.resume() and again.fit() == "finished"
    assert isinstance(again.optimiser, torch.optim.Adam) and not isinstance(again.optimiser, torch.optim.AdamW)
    assert torch.equal(again.objective.network.weight, whole.objective.network.weight)


def test_a_run_that_ended_early_has_ended(tmp_path):
    schedule = Schedule(log_every=1, checkpoint_every=1, validate_every=2, patience=2)
    flat = {"schedule": schedule, "steps": 100, "validate": lambda _network: {"score": 1.0}}
    assert make(tmp_path, **flat).fit() == "early"
    again = make(tmp_path, **flat)
    assert again.resume() and again.fit() == "early" and again.step == 6
    patient = make(tmp_path, **{**flat, "schedule": schedule.model_copy(update={"patience": 4})})
    assert patient.resume() and patient.fit() == "early" and patient.step == 10


def test_a_run_killed_while_its_end_is_judged_is_judged_when_it_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def kill(_network):
        raise Killed

    schedule = Schedule(log_every=1, checkpoint_every=2, validate_every=5)
    with pytest.raises(Killed):
        make(tmp_path, schedule=schedule, steps=4, validate=kill).fit()
    for _ in range(2):  # once, however often it is started
        again = make(tmp_path, schedule=schedule, steps=4, validate=lambda _network: {"score": 1.0})
        assert again.resume() and again.fit() == "finished"
    assert [event["step"] for event in events(tmp_path, "validation")] == [4]


def test_the_end_of_a_run_is_judged_too(tmp_path):
    schedule = Schedule(log_every=1, validate_every=5)
    make(tmp_path, schedule=schedule, validate=lambda _network: {"score": 1.0}).fit()
    assert [event["step"] for event in events(tmp_path, "validation")] == [5, 8]


def test_a_checkpoint_of_another_preset_is_refused(tmp_path):
    make(tmp_path).fit()
    with pytest.raises(ModelError, match="a different preset or method"):
        make(tmp_path, describe={"preset": "paper"}).resume()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"optimiser": "sgd"}, {"optimiser": "adamw"}, "a different optimiser"),
        ({"optimiser": "adamw"}, {"optimiser": "sgd"}, "a different optimiser"),
        ({"ema": 0.0}, {"ema": 0.9}, "no moving average"),
    ],
)
def test_a_run_does_not_go_on_with_what_its_checkpoint_lacks(tmp_path, before, after, said):
    make(tmp_path, steps=2, **before).fit()
    with pytest.raises(ModelError, match=said):
        make(tmp_path, **after).resume()


def test_a_run_does_not_go_on_with_other_frozen_layers(tmp_path):
    make(tmp_path, steps=2).fit()
    tensors, _ = checkpoint.load(tmp_path / "checkpoints/last.safetensors")
    network = torch.nn.Linear(1, 1)
    for fewer in ([network.weight], [torch.nn.Parameter(torch.zeros(2, 2)), network.bias]):
        with pytest.raises(ModelError, match="different frozen layers"):
            checkpoint.restore_optimiser(torch.optim.AdamW(fewer), tensors, "last")


def test_the_log_says_which_settings_changed(tmp_path):
    old = {"crop": [64, 64, 64], "optimisation": {"lr": 0.001, "seed": 1}}
    Run.create(tmp_path, "finetuning", old, {})
    Run.create(tmp_path, "finetuning", old, {})
    assert not (tmp_path / "log.txt").exists()
    Run.create(tmp_path, "finetuning", {**old, "optimisation": {"lr": 0.01, "seed": 1}, "size": "small"}, {})
    said = "Resumed with different settings: optimisation.lr 0.001 -> 0.01, size None -> small"
    assert said in (tmp_path / "log.txt").read_text()


def test_sgd_without_momentum(tmp_path):
    assert make(tmp_path, optimiser="sgd", momentum=0.0).fit() == "finished"


@pytest.mark.parametrize("content", [b"", b"half a file", b"\x80\x04\x95pickle"])
def test_a_tampered_checkpoint_is_refused(tmp_path, content):
    make(tmp_path).fit()
    (tmp_path / "checkpoints/last.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="damaged or not a checkpoint"):
        make(tmp_path).resume()


def test_a_run_of_another_kind_is_refused(tmp_path):
    Run.create(tmp_path, "tissue", {}, {})
    with pytest.raises(InputError, match="contains a run of kind 'tissue'"):
        make(tmp_path)


def test_more_processes_than_samples(tmp_path):
    with pytest.raises(InputError, match="cannot be shared by 6 processes"):
        make(tmp_path, world=World(0, 6, torch.device("cpu"))).fit()


def test_processes_share_each_step():
    shares = []
    for rank in range(3):
        trainer = Trainer.__new__(Trainer)
        trainer.optimisation, trainer.source = Optimisation(batch=8, micro_batch=2), Numbers()
        trainer.world = World(rank, 3, ALONE.device)
        parts = trainer.micro_batches(5)
        shares += trainer.source.asked
        assert sum(weight for weight, _ in parts) == pytest.approx(len(trainer.source.asked) / 8)
    assert sorted(shares) == list(range(40, 48))


def test_learning_rate_of_table_1a():
    o = Optimisation(lr=1.5e-4 * 96 / 256, warmup_steps=5000, warmup_lr=1e-6, steps=50_000)
    assert learning_rate(o, 0) == 1e-6
    assert learning_rate(o, 5000) == pytest.approx(5.625e-5)
    assert learning_rate(o, 27_500) == pytest.approx(5.625e-5 / 2)
    assert learning_rate(o, 49_999) < 1e-12


def test_what_half_precision_cannot_hold_stays_as_it_is() -> None:
    variances = torch.tensor([1.0, 1e5])
    kept, halved = halve(variances), halve(variances[:1])
    assert kept.dtype == torch.float32 and torch.equal(kept, variances), "1e5 would become infinite"
    assert halved.dtype == torch.float16 and halve(torch.tensor(3)).dtype == torch.int64


def test_a_weight_listed_under_two_names_is_saved_under_both(tmp_path) -> None:
    weight = torch.arange(6.0)
    checkpoint.save(tmp_path / "a.safetensors", {"one": weight, "two": weight, "view": weight[2:4]}, {})
    tensors, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert torch.equal(tensors["one"], weight) and torch.equal(tensors["two"], weight)
    assert torch.equal(tensors["view"], weight[2:4])


def test_the_mean_of_two_runs_is_exported_and_of_two_networks_refused(tmp_path) -> None:
    paths = []
    for name, steps, size in (("a", 4, 1), ("b", 8, 1), ("c", 4, 2)):
        make(tmp_path / name, describe={"size": size}, steps=steps).fit()
        paths.append(Run(tmp_path / name).checkpoint_path("last"))
    description = {"name": "line", "task": "tissue", "modalities": ["t1"]}
    for folder, source, others in (("one", paths[0], ()), ("two", paths[1], ()), ("mean", paths[0], paths[1:2])):
        export_model(source, tmp_path / folder, description, others=others)
    one, two, mean = (load_file(tmp_path / name / "model.safetensors")["weight"] for name in ("one", "two", "mean"))
    assert open_model(tmp_path / "mean").description.weights_sha256 == sha256(tmp_path / "mean" / "model.safetensors")
    assert one != two and float(mean) == pytest.approx(float(one + two) / 2, abs=1e-3)
    with pytest.raises(ModelError, match="different network"):
        export_model(paths[0], tmp_path / "none", description, others=paths[2:])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("broken", ["save_file", "sha256", "write_json"])
def test_an_export_that_failed_can_be_repeated(tmp_path, monkeypatch, broken) -> None:
    make(tmp_path / "run", describe={"size": 1}, steps=4).fit()
    described = {"name": "line", "task": "tissue", "modalities": ["t1"]}
    source, model = Run(tmp_path / "run").checkpoint_path("last"), tmp_path / "model"

    def failing(*_):
        raise OutputError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(f"asa.training.publishing.export.{broken}", failing)
        with pytest.raises(OutputError, match="The disk is full"):
            export_model(source, model, described)
    assert list(model.iterdir()) == []
    export_model(source, model, described)
    assert open_model(model).description.weights_sha256 == sha256(model / "model.safetensors")


def test_an_export_overwrites_neither_its_checkpoint_nor_files_of_others(tmp_path) -> None:
    make(tmp_path / "run", describe={"size": 1}, steps=4).fit()
    model = tmp_path / "model"
    model.mkdir()
    described = {"name": "line", "task": "tissue", "modalities": ["t1"]}
    (model / "CARD.md").write_text("a page of one's own")
    with pytest.raises(OutputError, match=r"CARD\.md already exists"):
        export_model(Run(tmp_path / "run").checkpoint_path("last"), model, described)
    (model / "CARD.md").rename(tmp_path / "card.md")
    checkpoint_copy = Path(shutil.copy(Run(tmp_path / "run").checkpoint_path("last"), model / "model.safetensors"))
    before = checkpoint_copy.read_bytes()
    with pytest.raises(OutputError, match="would overwrite the input"):
        export_model(checkpoint_copy, model, described)
    assert checkpoint_copy.read_bytes() == before
    checkpoint_copy.unlink()
    for _ in range(2):  # a model it does replace
        export_model(Run(tmp_path / "run").checkpoint_path("last"), model, described, card="# line\n")
    for name, option in (("model.json", "--description"), ("CARD.md", "--card")):
        given = {"--description": tmp_path / "described.json", "--card": tmp_path / "card.md", option: model / name}
        (tmp_path / "described.json").write_text(json.dumps(described))
        words = [str(word) for pair in given.items() for word in pair]
        with pytest.raises(OutputError, match="would overwrite the input"):
            build()(args=["export", str(tmp_path / "run"), "-o", str(model), *words], standalone_mode=False)


def test_a_diverged_run_is_neither_exported_nor_resumed(tmp_path) -> None:
    make(tmp_path / "run", describe={"size": 1}, steps=4).fit()
    path = Run(tmp_path / "run").checkpoint_path("last")
    tensors, record = checkpoint.load(path)
    checkpoint.save(path, {k: v * math.nan if k.startswith("model.") else v for k, v in tensors.items()}, record)
    with pytest.raises(ModelError, match="are not usable"):
        export_model(path, tmp_path / "model", {"name": "line"})
    assert not (tmp_path / "model").exists()
    with pytest.raises(ModelError, match="are not usable"):
        make(tmp_path / "run", describe={"size": 1}, steps=8).resume()


def test_tensors_that_differ_are_named_with_both_shapes() -> None:
    tensors = {"weight": torch.zeros(2, 3), "extra": torch.zeros(1)}
    with pytest.raises(
        ModelError,
        match=r"3 tensors differ, weight \(\(2, 3\) there, \(1, 1\) here\), bias \(none there, \(1,\) here\), "
        r"extra \(\(1,\) there, none here\)\.",
    ):
        checkpoint.load_weights(torch.nn.Linear(1, 1), tensors, "", "other.safetensors")
