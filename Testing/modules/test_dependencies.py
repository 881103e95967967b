"""Missing packages: what is source, what is asked of whom, and what happens when it fails."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import slicer

from ASASlicerLib import dependencies
from ASASlicerLib.dependencies import PACKAGES, Plan, SlicerInstaller


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

    def install_torch(ask: bool, backend: str | None, version: str) -> object:
        assert (ask, backend, version) == (False, None, ">=2.2")
        return installed

    module.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=install_torch)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_missing_looks_without_importing() -> None:
    assert dependencies.missing(lambda package: package.module != "nibabel") == (PACKAGES[1],)
    assert dependencies.missing() == ()  # what the tests of the engine need is all there


def test_a_version_that_is_too_old_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, enough in (("2.1.2", False), ("2.2.0+cu121", True), ("2.10.0", True), ("1.13.1", False)):
        monkeypatch.setattr(dependencies.importlib.metadata, "version", lambda name, version=version: version)
        assert dependencies.installed(PACKAGES[0]) is enough, version


def test_the_explanation_says_what_where_and_how_large() -> None:
    text = Plan(PACKAGES, gpu=True, wheels=None, destination="/slicer/site-packages").explanation()
    for words in ("torch", "nibabel", "GB", "/slicer/site-packages", "graphics card", "internet"):
        assert words in text
    assert "folder wheels" in Plan(PACKAGES[1:2], False, Path("wheels"), "x").explanation()


def test_torch_comes_from_its_extension_the_rest_from_pip(pip: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    use_torch_utilities(monkeypatch, object())
    SlicerInstaller().install(PACKAGES[:3], None)
    assert pip == [["nibabel>=5.2", "safetensors>=0.4.3"]]


def test_without_internet_all_comes_from_the_folder(pip: list[Any], tmp_path: Path) -> None:
    SlicerInstaller().install(PACKAGES[:1], tmp_path)
    assert pip == [["--no-index", "--find-links", str(tmp_path), "torch>=2.2"]]


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


@pytest.mark.parametrize(
    ("build", "unused"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None", True),
        ("cuda = '12.8'", False),
        ("cuda: Optional[str] = '12.1'", False),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.2'", False),
    ],
)
def test_a_processor_build_beside_a_gpu_is_noticed(
    build: str, unused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(f"__version__ = '2.9.0'\n{build}\n", encoding="utf-8")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(dependencies.importlib.util, "find_spec", lambda name: spec)
    for present in (True, False):
        dependencies.gpu_unused.cache_clear()
        monkeypatch.setattr(dependencies, "gpu_present", lambda present=present: present)
        assert ("graphics card" in dependencies.gpu_unused()) is (unused and present)
    dependencies.gpu_unused.cache_clear()
