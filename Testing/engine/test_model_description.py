"""What a model.json may say: those of today and of earlier versions load, each fault is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa.errors import ModelError
from asa.model_description import Normalisation, ZScore, check_description, read_description
from asa.models import BrokenModel, broken_models, find_model, list_models
from asa.tasks import TASKS

EARLIER = Path(__file__).parent / "earlier" / "models"
SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Models"
MINIMAL = {"format": 1, "name": "mine", "task": "tumour", "modalities": ["t1", "flair"], "network": {}}
NO_TENSOR = (2).to_bytes(8, "little") + b"{}"  # the shortest file of weights


@pytest.mark.parametrize("path", sorted(EARLIER.glob("*.json")), ids=lambda path: path.stem)
def test_a_model_of_an_earlier_version_loads(path: Path) -> None:
    described = read_description(path)
    values = json.loads(path.read_text(encoding="utf-8"))
    assert (described.name, described.task, described.version) == (values["name"], values["task"], values["version"])
    assert list(described.modalities) == values["modalities"] and described.network == values["network"]
    assert described.steps == values["steps"] and described.scores == values.get("scores", {})
    assert described.tta == values.get("flip_averaging", False)


def test_the_models_of_this_version_load() -> None:
    assert {read_description(path).name for path in SHIPPED.glob("*/model.json")} >= {"tissue", "tumour", "wmh"}


def test_rules_of_regions_and_classes_are_read() -> None:
    tumour, tissue = (read_description(EARLIER / name) for name in ("tumour-0.3.0.json", "tissue-0.3.0.json"))
    assert tumour.regions and tumour.optional_modalities == ("t1", "t1gd", "t2", "flair")
    assert tumour.region_rules.thresholds == {"WT": 0.3, "TC": 0.3, "ET": 0.4}
    assert tumour.region_rules.min_component_ml["WT"] == 3.5 and tumour.region_rules.closing == {"WT": 0.25}
    assert tumour.unknown_without == {"t1gd": ("TC", "ET"), "flair": ("WT",)}
    assert tumour.subset_averaging == ({"t1gd", "flair"}, {"t2", "flair"})
    assert len(tumour.doubts) == 1 and tumour.normalisation == Normalisation(ZScore.CORRECTED_BRAIN)
    assert not tissue.regions and tissue.normalisation == Normalisation(ZScore.FOREGROUND)
    assert [(one.source, one.target, one.box_mm[0]) for one in tissue.moved_classes] == [(4, 1, (-10, 10))]
    assert tissue.intensity_rules[3].log_odds == 1.7 and tissue.intensity_rules[3].smoothing == 30


@pytest.mark.parametrize("text", ["z-score", "brain z-score", "N4, brain z-score", "standardised N4, brain z-score"])
def test_normalisation_is_written_as_it_is_read(text: str) -> None:
    found = Normalisation.parse(text)
    assert str(found) == text
    assert found.standardised == text.startswith("standardised") and found.corrects_bias == ("N4" in text)
    assert found.within_brain == ("brain" in text)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": 3}, "'name' must be a text on one line, not 3"),
    ({"format": "1"}, "'format' must be a whole number from 1"),
    ({"format": True, "task": ""}, "'format' must be a whole number"),
    ({"modalities": "t1"}, "'modalities' must be a list of different modalities"),
    ({"modalities": []}, "'modalities' is empty"),
    ({"modalities": ["t1", "t1"]}, "'modalities' must be"),
    ({"modalities": ["t1", "pet"]}, r"t1, t1gd, t2, flair\), not \['t1', 'pet'\]"),
    ({"optional_modalities": ["t2"]}, r"'optional_modalities' must be a list of different modalities \(t1, flair\)"),
    ({"network": []}, "'network' must be an object"),
    ({"output": "both"}, "'output' must be 'classes' or 'regions', not 'both'"),
    ({"normalisation": "histogram"}, "'normalisation' must be one of 'z-score'"),
    ({"normalisation": None}, "'normalisation' must be one of"),
    ({"temperature": 0}, "'temperature' must be a number above 0"),
    ({"temperature": float("nan")}, "'temperature' must be a number above 0"),
    ({"tta": "yes"}, "'tta' must be true or false"),
    ({"doubts": "weak"}, "'doubts' must be a list of sentences"),
    ({"thresholds": {"XX": 0.3}}, r"'thresholds' must be .* \(WT, TC, ET\)"),
    ({"thresholds": {"WT": 1}}, "probabilities above 0 and below 1"),
    ({"min_component_ml": {"WT": "3"}}, "'min_component_ml' must be .* volumes in mL"),
    ({"min_component_certainty": {"WT": 2}}, "'min_component_certainty' must be"),
    ({"unknown_without": {"t1": ["XX"]}}, "'unknown_without' must be"),
    ({"subset_averaging": [["t2"]]}, "'subset_averaging' must be"),
    ({"moved_classes": {}}, "'moved_classes' must be a list of objects"),
    ({"moved_classes": [{"from": 1, "to": 2}]}, "In entry 1 of 'moved_classes' in .*, 'box_mm' is missing"),
    ({"moved_classes": [{"from": 1, "to": 2, "box_mm": [[1, 0]] * 3}]}, "'box_mm' must be a list of three pairs"),
    ({"intensity_rules": [3]}, "entry 1 of 'intensity_rules' in .* must hold a JSON object"),
    ({"intensity_rules": [{"classes": [1, 9]}]}, "'classes' must be a list of two different classes from 0 to 3"),
    ({"intensity_rules": [{"classes": [1, 2], "least": 1}]}, "'least' must be a share"),
    ({"steps": -1}, "'steps' must be a whole number"),
    ({"scores": {"heads": 0.9}}, "'scores' must be an object"),
]


@pytest.mark.parametrize(("changes", "sentence"), FAULTS)
def test_a_fault_is_one_sentence_with_what_where_and_what_to_do(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as raised:
        check_description({**MINIMAL, **changes}, "mine/model.json")
    message = str(raised.value)
    assert "mine/model.json" in message and message.endswith("; correct the file or install the model again.")


def test_what_is_no_description_at_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    for text, sentence in (
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "must hold a JSON object"),
        ('{"name": "x", "format": 1}', "lacks task, modalities, network"),
        ('{"format": 2}', r"needs a newer version of ASA \(format 2\); update ASA"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=sentence):
            read_description(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="cannot be read"):
        read_description(file)


def test_a_broken_folder_is_listed_as_broken_and_the_others_work(tmp_path, monkeypatch) -> None:
    for name, values in {"a": {}, "b": {"thresholds": {"WT": 7}}, "c": {"name": "c"}}.items():
        (tmp_path / name).mkdir()
        described = {**MINIMAL, "name": name, **values}
        (tmp_path / name / "model.json").write_text(json.dumps(described), encoding="utf-8")
        (tmp_path / name / "model.safetensors").write_bytes(NO_TENSOR)
    monkeypatch.setenv("ASA_MODELS", str(tmp_path))
    assert {"a", "c", "tissue"} <= {model.name for model in list_models()}
    (broken,) = broken_models()
    assert isinstance(broken, BrokenModel) and broken.path == tmp_path / "b" and "'thresholds'" in broken.problem
    with pytest.raises(ModelError, match="'thresholds' must be"):
        find_model("b")
    assert find_model("c").path == tmp_path / "c"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "placeholder", "folder", "unreadable"])
def test_a_model_with_incomplete_weights_is_listed_as_broken(tmp_path, monkeypatch, damage) -> None:
    described = json.dumps({**MINIMAL, "name": "mine"})
    weights = tmp_path / "mine" / "model.safetensors"
    weights.parent.mkdir()
    (weights.parent / "model.json").write_text(described, encoding="utf-8")
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    if damage == "folder":
        weights.mkdir()
    elif damage != "missing":
        content = {"empty": b"", "cut": whole[:-1], "placeholder": b"version https://git-lfs.github.com/spec/v1\n"}
        weights.write_bytes(content.get(damage, whole))
    if damage == "unreadable":
        path_open = Path.open

        def refused(self, *args, **kwargs):
            if self == weights:
                raise PermissionError(13, "Permission denied", str(self))
            return path_open(self, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setenv("ASA_MODELS", str(tmp_path))
    assert "tissue" in {model.name for model in list_models()}
    (broken,) = broken_models()
    assert broken.path.name == "mine" and str(weights.parent) in broken.problem
    with pytest.raises(ModelError, match="mine"):
        find_model("mine")


def test_a_complete_model_is_listed(tmp_path, monkeypatch) -> None:
    weights = tmp_path / "mine" / "model.safetensors"
    weights.parent.mkdir()
    (weights.parent / "model.json").write_text("\ufeff" + json.dumps({**MINIMAL, "name": "mine"}), encoding="utf-8")
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    monkeypatch.setenv("ASA_MODELS", str(tmp_path))
    assert find_model("mine").size > 0 and broken_models() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "format", "name", "task", "modalities", "network", "version", "optional_modalities", "output", "normalisation",
    "temperature", "tta", "flip_averaging", "doubts", "unknown_without", "subset_averaging", "thresholds",
    "min_component_ml", "min_component_certainty", "asymmetry", "closing", "moved_classes", "intensity_rules", "steps",
    "scores",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3) | JSON, st.sampled_from([*TASKS, "other"]))
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_model_json_is_a_description_or_one_sentence(values, task) -> None:
    changed = {**MINIMAL, "task": task, **values} if isinstance(values, dict) else values
    try:
        described = check_description(changed, "model.json")
    except ModelError as error:
        assert "model.json" in str(error) and "\n" not in str(error)
    else:
        assert described.name.isprintable() and described.modalities


def test_the_panels_can_read_models_without_the_engine() -> None:
    code = "import sys, asa.models; print(*sorted({'numpy', 'torch', 'pydantic', 'yaml'} & set(sys.modules)))"
    path = str(Path(__file__).resolve().parents[2] / "ASASegmentation")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == ""
