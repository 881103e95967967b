"""Which model is used: those that ship unless another one is chosen, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asa.cli.models import command
from asa.models import better_models, find_model, hidden_models, list_models, user_models


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's own models."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("ASA_MODELS", raising=False)
    folder = user_models()
    assert folder is not None
    return folder


def add(folder: Path, name: str, dice: float, where: str = "") -> Path:
    """A tissue model with one score."""
    path = folder / (where or name)
    path.mkdir(parents=True, exist_ok=True)
    described = {"format": 1, "name": name, "task": "tissue", "modalities": ["t1"], "network": {}}
    described |= {"scores": {"validation": {"GM": dice}}}
    (path / "model.json").write_text(json.dumps(described), encoding="utf-8")
    (path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no tensor
    return path


def test_a_published_model_is_not_the_default(own: Path) -> None:
    path = add(own, "aaa-toy", 0.1)
    assert find_model(None, "tissue").name == "tissue"
    assert next(model.name for model in list_models("tissue")) == "tissue"
    assert find_model("aaa-toy").path == path


def test_a_better_one_is_offered_but_not_taken(own: Path) -> None:
    add(own, "toy", 0.1)
    add(own, "mine", 0.99)
    default = find_model(None, "tissue")
    assert default.name == "tissue"
    assert [model.name for model in better_models(default)] == ["mine"]


def test_a_name_that_ships_is_not_hidden_by_ones_own(own: Path) -> None:
    path = add(own, "tissue", 0.99)
    assert find_model("tissue").path != path
    (hidden,) = hidden_models()
    assert hidden.model.path == path and hidden.by == find_model("tissue")


def test_a_name_of_another_task_hides_too(own: Path) -> None:
    add(own, "tumour", 0.99)
    assert [model.name for model in list_models("tissue")] == ["tissue"]


def test_a_model_beside_the_shipped_one_is_used_when_asked_for(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path / "site", "aaa", 0.99)
    monkeypatch.setenv("ASA_MODELS", str(tmp_path / "site"))
    assert find_model(None, "tissue").name == "tissue"
    assert find_model("aaa").path == path
    newer = add(tmp_path / "site", "tissue", 0.99)
    assert find_model(None, "tissue").path == newer, "to give it the name of the shipped one is to ask for it"
    monkeypatch.setattr("asa.models._shipped", list)
    assert find_model(None, "tissue").name == "aaa", "where none ships, the first is taken"


def test_a_changed_description_is_read_again(own: Path) -> None:
    add(own, "mine", 0.1)
    assert find_model("mine").description.scores["validation"] == {"GM": 0.1}
    add(own, "other", 0.2, where="mine")
    assert find_model("other").description.scores["validation"] == {"GM": 0.2}


def test_the_list_names_the_better_and_the_hidden_ones(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = add(own, "tissue", 0.99, where="copy")
    add(own, "mine", 0.99)
    command()
    shown = " ".join(capsys.readouterr().out.split())
    assert "mine reports a higher Dice than the default for tissue" in shown
    assert "Hidden: " in shown and path.name in shown
