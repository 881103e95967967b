"""What a laboratory asks of the engine before and after a run: settings as a form, an estimate, what there is to
prepare, and a model of what was trained."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Testing.engine.labelled_files import brats_case, save
from Testing.engine.tiny_pretraining import make_store, settings

from asa import cli
from asa.data.case_store import INDEX, CaseStore, StoredCase
from asa.data.datasets import DATASETS
from asa.data.survey import survey_cases, survey_scans
from asa.errors import InputError, ModelError
from asa.files import write_json
from asa.inference.predictor import Predictor
from asa.models import find_model, list_models, open_model, user_models
from asa.nn import Segmenter
from asa.nn.baselines import NetworkSpec, asa_config
from asa.runs.abilities import Abilities, abilities
from asa.runs.folder import Run, read_events
from asa.tasks import TASKS
from asa.training import checkpoint
from asa.training.finetuning.network import make_network, network_spec
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.model_facts import lesion_facts
from asa.training.planning.estimate import _finetuning, estimate
from asa.training.planning.presets import KINDS, PRESETS, preset
from asa.training.planning.schema import describe_settings
from asa.training.pretraining.settings import PretrainSettings
from asa.training.publishing.card import describe_run, publish
from asa.training.settings import read_settings
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.tissue import TissueSettings

Asa = Callable[..., str]


@pytest.fixture
def asa(capsys: pytest.CaptureFixture[str]) -> Asa:
    """Runs a command that must succeed; gives its standard output."""

    def run(*words: object) -> str:
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert not left.value.code, err
        return out

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_row_with_a_meaning(kind: str, asa: Asa) -> None:
    (found,) = json.loads(asa("settings", kind, "--json"))
    rows = {row["key"]: row for row in found["rows"]}
    assert [key for key, row in rows.items() if not row["help"]] == []
    assert {row["type"] for row in rows.values()} <= {
        "boolean", "integer", "number", "string", "choice", "integers", "numbers", "object"
    }  # fmt: skip
    assert set(found["presets"]) == {"starter", "paper"} and rows["store"]["required"]
    assert rows["crop"]["unit"] == "voxels" and rows["crop"]["length"] == 3
    for values in found["presets"].values():
        again: dict[str, Any] = {"store": "store"}
        for key, value in values.items():
            *path, last = key.split(".")
            place = again
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        assert KINDS[kind].model_validate(again)


def test_rows_have_the_bounds_of_the_model() -> None:
    rows = {row["key"]: row for row in describe_settings("pretrain")["rows"]}
    ratio = rows["mask_ratio"]
    assert (ratio["type"], ratio["minimum"], ratio["maximum"]) == ("number", 0, 1)
    assert ratio["open_below"] and ratio["open_above"]
    assert "asa" in rows["method"]["choices"] and rows["position"]["nullable"]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in PRESETS for n in PRESETS[k]])
def test_presets_are_what_the_files_say(kind: str, name: str, repository: Path) -> None:
    path = repository / "Resources" / "Configs" / f"{kind}_{name}.yaml"
    both = (read_settings(path, KINDS[kind]), preset(kind, name))
    written, known = (found.model_dump(exclude={"store"}) for found in both)
    assert written.pop("foreground", 0) == pytest.approx(known.pop("foreground", 0), abs=1e-4)  # a third
    assert written == known


def test_estimate_of_memory_time_and_disk(tmp_path: Path, asa: Asa) -> None:
    """Against the run itself: steps, parameters and bytes on disk; of time only that there is a figure."""
    schedule = {"log_every": 1, "checkpoint_every": 5, "validate_every": 5}
    values = settings(make_store(tmp_path / "store"), schedule=schedule)
    (tmp_path / "settings.json").write_text(json.dumps(values))
    words = ("estimate", "pretrain", tmp_path / "settings.json", "-o", tmp_path / "run", "--device", "cpu", "--json")
    found = json.loads(asa(*words))
    assert not (tmp_path / "run").exists()
    asa("pretrain", tmp_path / "settings.json", "-o", tmp_path / "run", "--device", "cpu")
    steps = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "step"]
    assert found["steps"] == len(steps) == 10
    tensors, _ = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert abs(found["parameters"] - sum(tensor.numel() for tensor in tensors.values())) < 0.1 * found["parameters"]
    assert found["step_seconds"] > 0
    assert found["seconds"] >= found["steps"] * found["step_seconds"]
    used = sum(path.stat().st_size for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert used < found["disk"] < 4 * used + 100_000
    assert 0 < found["memory"] < found["free_memory"] and found["free_disk"] > 0


def test_estimate_of_a_fine_tuning_is_of_its_own_network_and_windows(tmp_path: Path) -> None:
    """The network that is measured is made for a smaller crop, and may be a smaller one."""
    shape = (32, 32, 160)
    blank = {"images": np.zeros((4, *shape), np.float16), "labels": np.zeros(shape, np.uint8)}
    for kind, array in {**blank, "foreground": np.zeros((0, 4), np.int16)}.items():
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "a.npy", array)
    (case,) = [dataclasses.asdict(StoredCase("a", "a", {}, 1.0, 0.0))]
    modalities = list(DATASETS["brats2021"].modalities)
    about = {"format": 2, "dataset": "brats2021", "modalities": modalities, "shape": shape, "cases": [case]}
    write_json(tmp_path / INDEX, about)
    values = {"store": str(tmp_path), "network": "transbts", "size": "small", "crop": (32, 32, 128)}
    asked = FinetuneSettings.model_validate(values)
    network, _, _ = make_network(asked, network_spec(asked, CaseStore.open(tmp_path)))
    assert estimate(asked, tmp_path / "run", "cpu").parameters == sum(p.numel() for p in network.parameters())
    looks = {o: _finetuning(asked.model_copy(update={"overlap": o})).validation_looks for o in (0.5, 0.8)}
    assert looks == {0.5: 2, 0.8: 3}
    with pytest.raises(InputError, match="multiple of 32"):
        estimate(asked.model_copy(update={"crop": (32, 32, 72)}), tmp_path / "run", "cpu")


def test_estimate_warns_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = PretrainSettings.model_validate(settings(make_store(tmp_path / "store")))
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    warned = estimate(found, tmp_path / "run", "cpu").warnings
    assert len(warned) == 1 and "GB of disk" in warned[0] and "Choose another run folder" in warned[0]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_estimate_warns_of_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    found = PretrainSettings.model_validate(settings(make_store(tmp_path / "store")))
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in estimate(found, tmp_path / "locked" / "run", "cpu").warnings[0]


def test_devices_say_what_is_free(asa: Asa) -> None:
    devices = json.loads(asa("devices", "--json"))
    assert devices[-1]["name"] == "cpu" and devices[-1]["free"] <= devices[-1]["total"]


def test_survey_of_scans_finds_what_is_wrong_before_anything_is_prepared(tmp_path: Path, asa: Asa) -> None:
    save(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", np.ones((8, 9, 10), np.int16))
    (tmp_path / "sub-02").mkdir()
    (tmp_path / "sub-02" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    (tmp_path / "sub-03").mkdir()
    shutil.copy(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", tmp_path / "sub-03" / "sub-03_T1w.nii.gz")
    found = {case.name: case for case in survey_scans(tmp_path)}
    assert found["sub-01_T1w"].grid == "8x9x10 of 1x1x1 mm" and not found["sub-01_T1w"].problems
    assert found["sub-02_T1w"].problems
    assert "listed twice" in found["sub-03_T1w.nii.gz"].problems[0]
    (tmp_path / "empty").mkdir()
    words = ("prepare", "pretrain", "--bids", tmp_path, "--dry-run", "--json")
    lines = [json.loads(line) for line in asa(*words).splitlines()]
    assert [line["name"] for line in lines if line["event"] == "found"] == list(found)
    assert not (tmp_path / "store").exists()
    with pytest.raises(InputError, match="no T1-weighted scan"):
        next(survey_scans(tmp_path / "empty"))


def test_survey_of_cases(tmp_path: Path) -> None:
    brats_case(tmp_path, "BraTS2021_00001")
    brats_case(tmp_path, "BraTS2021_00002", values=(1, 2, 3))
    (brats_case(tmp_path, "BraTS2021_00003") / "BraTS2021_00003_t2.nii.gz").unlink()
    found = list(survey_cases(DATASETS["brats2021"], tmp_path))
    assert found[0].modalities == ("t1", "t1gd", "t2", "flair") and found[0].labels and not found[0].problems
    assert "labels contain 3" in found[1].problems[0]
    assert "no image of t2" in found[2].problems[0]


def tuned_run(folder: Path, **changes: Any) -> Path:
    """A fine-tuning run of a small network that was never trained."""
    common = {"store": "somewhere/cases", "size": "small", "crop": (32, 32, 32)}
    values = FinetuneSettings.model_validate({**common, **changes})
    data = {"dataset": "brats2021", "modalities": ["t1", "flair"], "cases": 7, "stripped": True}
    data["split"] = {"train": 5, "validation": 2}
    run = Run.create(folder, "finetuning", values.model_dump(mode="json"), data)
    run.event("validation", step=3, best=True, score=0.5, **{"dice WT": 0.61234, "dice TC": 0.5, "dice ET": 0.4})
    (folder / "calibration.json").write_text('{"temperature": 1.5}')
    config = asa_config(NetworkSpec("asa", 2, 4, (32, 32, 32), "small", (4, 4, 4)))
    torch.manual_seed(0)
    tensors = {f"model.network.{key}": value for key, value in Segmenter(config).state_dict().items()}
    checkpoint.save(run.checkpoint_path("best"), tensors, {"step": 3, "network": config.to_dict()})
    return folder


def test_a_run_is_published_where_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asa: Asa) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    run = tuned_run(tmp_path / "run", modality_dropout=0.2, init="runs/starter")
    assert "my-tumours" in asa("export", run, "--name", "my-tumours", "--notes", "Two hospitals.")
    model = find_model("my-tumours", "tumour")
    assert model.path == user_models() / "my-tumours" and model in list_models("tumour")
    assert model.modalities == ("t1", "flair") and model.required == ()
    assert str(model.description.normalisation) == "brain z-score" and model.description.temperature == 1.5
    assert model.description.scores == {"validation, step 3": {"ET": 0.4, "TC": 0.5, "WT": 0.6123}}
    card = (model.path / "CARD.md").read_text()
    assert all(words in card for words in ("5 of 7 cases", "starter", "0.612", "Research use only", "Two hospitals."))
    assert "somewhere" not in card + (model.path / "model.json").read_text()  # folders may be named after people
    with pytest.raises(ModelError, match="already exists"):
        publish(run, "my-tumours")


def test_what_cannot_be_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a valid model name"):
        publish(tmp_path, "../up")
    with pytest.raises(InputError, match="network 'asa'"):
        publish(tuned_run(tmp_path / "unetr", network="unetr"), "x", tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with pytest.raises(ModelError, match=r"(?i)no checkpoint"):
        publish(tmp_path, "x", tmp_path / "m")
    run = Run.create(tmp_path / "pretrained", "pretraining", {}, {})
    checkpoint.save(run.checkpoint_path("best"), {}, {"step": 1, "network": {}})
    with pytest.raises(InputError, match="Fine-tune from it"):
        publish(run.folder, "x", tmp_path / "m")


@pytest.mark.parametrize("recorded", [True, False], ids=["run.yaml says it", "older version"])
@pytest.mark.parametrize("task", ["tumour", "wmh"])
def test_a_run_of_lesions_becomes_a_model(tmp_path: Path, task: str, recorded: bool) -> None:
    settings = LesionSettings.model_validate({"task": task, "label_maps": "somewhere/maps", "store": "somewhere/cases"})
    data = {"heads": 20, "real cases": 6, "healthy cases": 0}
    facts = lesion_facts(TASKS[task], settings.model_dump(mode="json"), data | {"corrected": True})
    said = {"command": "train", "model": facts} if recorded else {}
    run = Run.create(tmp_path / "run", task, settings.model_dump(mode="json"), data, **said)
    assert abilities(run.describe()) == Abilities("train", True)
    channels, regions = len(TASKS[task].modalities), len(TASKS[task].regions)
    config = asa_config(NetworkSpec("asa", channels, regions, (32, 32, 32), "small", (4, 4, 4)))
    tensors = {f"model.network.{key}": value for key, value in Segmenter(config).state_dict().items()}
    checkpoint.save(run.checkpoint_path("last"), tensors, {"step": 3, "network": config.to_dict()})
    model = open_model(publish(run.folder, "mine", tmp_path / "model"))
    assert model.task == task and model.description.regions and model.description.tta
    assert str(model.description.normalisation) == "N4, brain z-score"
    assert model.required == ()
    card = (model.path / "CARD.md").read_text()
    assert "20 label maps" in card and "6 real cases" in card and "somewhere" not in card


@pytest.mark.parametrize(
    ("task", "given", "start"),
    [
        ("wmh", {}, "tissue"),
        ("wmh", {"encoder": "runs/pretrained"}, "pretrained"),  # and not the default of init
        ("tissue", {"encoder": "runs/pretrained"}, "pretrained"),
        ("tissue", {}, "scratch"),
    ],
)
def test_a_model_says_what_its_training_started_from(
    tmp_path: Path, task: str, given: dict[str, str], start: str
) -> None:
    kind, values = (TissueSettings, {}) if task == "tissue" else (LesionSettings, {"task": task})
    settings = kind.model_validate({**values, "label_maps": "maps", **given}).model_dump(mode="json")
    run = Run.create(tmp_path / "run", task, settings, {"heads": 20})
    assert describe_run(run.folder, "mine")["training"]["initialised_from"] == start


def test_a_run_says_itself_what_it_can_do(tmp_path: Path) -> None:
    """Of runs that do not say so yet, the kind tells; of a kind that nobody knows, nothing is assumed."""
    facts = {"task": "tissue", "modalities": ["t1"], "output": "classes", "data": "some heads"}
    run = Run.create(tmp_path / "run", "a kind to come", {}, {}, command="train", model=facts)
    assert abilities(run.describe()) == Abilities("train", True)
    assert abilities({"kind": "a kind to come"}) == Abilities("", False)
    assert abilities({"kind": "pretraining"}) == Abilities("pretrain", False)
    assert abilities({"kind": "tissue"}) == Abilities("train", True)


def test_a_network_of_a_part_of_the_frame_is_used_over_the_whole_of_it(tmp_path: Path) -> None:
    """The windows beyond its frame take the nearest codes; every voxel gets a probability."""
    folder = publish(tuned_run(tmp_path / "run"), "small", tmp_path / "small")
    predictor = Predictor(open_model(folder), torch.device("cpu"))
    found = predictor.posterior(np.random.default_rng(0).normal(size=(2, 64, 40, 32)).astype(np.float32))
    assert found.shape == (4, 64, 40, 32)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-3)
