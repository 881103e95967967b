"""The samples are registered when the application has started, not before, and with their checksums."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import driving
import pytest
import slicer

from asa.modalities.matching import named_modality
from asa.tasks import TASKS
from ASASegmentationLib.sample_data import SAMPLES


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
    assert {source["sampleName"] for source in registered} == {"MRHead_T1", "Glioma", "MS_lesions"}
    for source in registered:
        assert len({len(source[part]) for part in ("uris", "fileNames", "nodeNames", "checksums")}) == 1
        assert all(re.fullmatch(r"SHA256:[0-9a-f]{64}", checksum) for checksum in source["checksums"])
        # what an address leads to cannot change: it names a commit or the checksum
        assert all(re.search(r"/(raw|SHA256)/[0-9a-f]{40,64}\b", address) for address in source["uris"])
    module.close()


def test_each_task_has_a_sample_whose_series_are_suggested_by_their_names() -> None:
    assert set(SAMPLES) == set(TASKS)
    for name, sample in SAMPLES.items():
        found = [named_modality(volume) for _address, volume, _checksum in sample.files]
        assert set(found) <= {modality.key for modality in TASKS[name].modalities}
        assert len(set(found)) == len(found)


def test_an_application_without_sample_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from ASASegmentationLib.sample_data import register

    monkeypatch.setitem(sys.modules, "SampleData", None)
    register()
    assert sys.modules["SampleData"] is None
