"""What ASA stands on has licences under which it may be distributed."""

from __future__ import annotations

from types import ModuleType

import pytest
from Testing.scripts import load_script

EXTRAS = ("dicom", "train", "slurm", "slicer-core", "sample", "bench", "docs", "test")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    return load_script("sbom")


def test_no_package_is_under_a_copyleft_licence(sbom: ModuleType) -> None:
    licences = {name: sbom.licence(package) for name, package in sbom.needed(EXTRAS).items()}
    assert {"numpy", "torch", "nibabel", "simpleitk"} <= licences.keys()
    # A package whose licence is a choice of several is taken under the permissive one.
    found = {name: text for name, text in licences.items() if sbom.COPYLEFT.search(text) and " OR " not in text}
    # PySide6 and its parts run tests and draw photographs; they are neither imported nor distributed by ASA.
    assert {name for name in found if not name.startswith(("pyside6", "shiboken6"))} == set()
    assert [name for name, text in licences.items() if text == "not stated"] == []


def test_what_a_user_installs_has_no_tools_of_tests(sbom: ModuleType) -> None:
    names = {one["name"].lower() for one in sbom.bill(["train"])["components"]}
    assert "monai" in names and not names & {"pytest", "pyside6-essentials", "mkdocs-material", "slicer-asa"}


@pytest.mark.parametrize("text", ["GPL-3.0-only", "LGPL-2.1", "GNU Lesser General Public License v3 (LGPLv3)", "AGPL"])
def test_copyleft_is_recognised(sbom: ModuleType, text: str) -> None:
    assert sbom.COPYLEFT.search(text)
