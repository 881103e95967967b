"""The sample head is registered when the application has started, not before, and with its checksum."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import driving
import pytest
import slicer


def test_registered_after_start_with_a_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    slicer.app.complete_startup()  # for modules that other tests have opened
    registered: list[dict[str, Any]] = []
    samples = ModuleType("SampleData")
    register = SimpleNamespace(registerCustomSampleDataSource=lambda **fields: registered.append(fields))
    samples.SampleDataLogic = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", samples)
    module = driving.open_module("ASASegmentation")
    assert registered == []
    slicer.app.complete_startup()
    (source,) = registered
    assert re.fullmatch(r"SHA256:[0-9a-f]{64}", source["checksums"])
    assert source["uris"].endswith(source["checksums"].removeprefix("SHA256:"))
    module.close()


def test_an_application_without_sample_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from ASASegmentationLib.sample_data import register

    monkeypatch.setitem(sys.modules, "SampleData", None)
    register()
    assert sys.modules["SampleData"] is None
