"""What the engine's tests share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from asa import cli

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module fake_engine.py, standing in for inference and models."""
    spec = importlib.util.spec_from_file_location("fake_engine", Path(__file__).with_name("fake_engine.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for name, stand_in in module.modules().items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    return module


@pytest.fixture
def no_segmentation_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out segmentation.seg.nrrd: it has tests of its own, and starting its writer takes a second each time."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "slicer" else find_spec(name))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command ``asa`` in this process; returns exit code, standard output and standard error."""

    def asa(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return asa
