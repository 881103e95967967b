"""Settings files: variables in paths, and the files that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asa.errors import InputError
from asa.training.planning.presets import KINDS
from asa.training.settings import Settings, names_task, read_settings
from asa.training.synthetic.lesion_settings import LesionSettings
from asa.training.synthetic.tissue import TissueSettings

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "Resources" / "Configs").glob("*.yaml"))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("label_maps: ${ASA_DATA}/label_maps\n", encoding="utf-8")
    return path


def test_a_path_may_begin_with_a_variable(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASA_DATA", str(tmp_path))
    assert read_settings(settings, TissueSettings).label_maps == f"{tmp_path}/label_maps"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(
    settings: Path, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASA_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("ASA_DATA", value)
    with pytest.raises(InputError, match=r"label_maps: The environment variable ASA_DATA is not set. Set it"):
        read_settings(settings, TissueSettings)


def kind_of(path: Path) -> type[Settings]:
    if path.stem.split("_")[0] in KINDS:
        return KINDS[path.stem.split("_")[0]]
    return LesionSettings if names_task(path) else TissueSettings


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_files_that_ship_name_no_folder_of_one_computer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASA_DATA", "data")
    read_settings(path, kind_of(path))
    assert not re.search(r"^\w+: +(\.\./|/|~)", path.read_text(encoding="utf-8"), re.MULTILINE)
