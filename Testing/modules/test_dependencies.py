"""Missing packages: what is said, what is asked of whom, and what happens when it fails."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import slicer

from ASASegmentationLib import dependencies
from ASASegmentationLib.dependencies import PACKAGES, Plan, SlicerInstaller


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What pip was asked to install, in a Slicer that has slicer.packaging."""
    asked: list[Any] = []
    packaging = ModuleType("slicer.packaging")
    packaging.pip_install = asked.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    return asked


def use_torch_utilities(monkeypatch: pytest.MonkeyPatch, installed: object) -> None:
    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=lambda ask: installed)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_missing_looks_without_importing() -> None:
    assert dependencies.missing(lambda module: module != "nibabel") == (PACKAGES[1],)
    assert dependencies.missing(lambda module: True) == ()


def test_the_explanation_says_what_where_and_how_large() -> None:
    text = Plan(PACKAGES, gpu=True, wheels=None, destination="/slicer/site-packages").explanation()
    for words in ("torch", "nibabel", "GB", "/slicer/site-packages", "graphics card", "internet"):
        assert words in text
    assert "folder wheels" in Plan(PACKAGES[1:2], False, Path("wheels"), "x").explanation()


def test_torch_comes_from_its_extension_the_rest_from_pip(pip: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    use_torch_utilities(monkeypatch, object())
    SlicerInstaller().install(PACKAGES[:2], None)
    assert pip == [["nibabel>=5.2"]]


def test_without_internet_all_comes_from_the_folder(pip: list[Any], tmp_path: Path) -> None:
    SlicerInstaller().install(PACKAGES[:1], tmp_path)
    assert pip == [["--no-index", "--find-links", str(tmp_path), "torch>=2.4"]]


def test_older_slicer_has_pip_in_util(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    SlicerInstaller().install(PACKAGES[1:2], None)
    assert asked == [["nibabel>=5.2"]]


@pytest.mark.parametrize("utilities", ["absent", "failing"])
def test_a_failure_says_what_to_do(utilities: str, pip: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if utilities == "failing":
        use_torch_utilities(monkeypatch, None)
    else:
        monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(RuntimeError, match="extension PyTorch"):
        SlicerInstaller().install(PACKAGES[:1], None)


def test_a_processor_build_beside_a_gpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies.importlib.metadata, "version", lambda name: "2.9.0+cpu")
    monkeypatch.setattr(dependencies, "gpu_present", lambda: True)
    assert "graphics card" in dependencies.gpu_unused()
    monkeypatch.setattr(dependencies, "gpu_present", lambda: False)
    assert dependencies.gpu_unused() == ""
