"""Packages from a folder of wheels, installed by the real pip into a folder of the test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.dependencies import Package, Plan, SlicerInstaller
from ASASlicerLib.process import python_executable

_NAME = "asa_test_wheel"


def write_wheel(folder: Path, name: str) -> None:
    """A package with one empty module."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


class TestOfflinePackages(PanelTestCase):
    """A computer without internet."""

    def setUp(self) -> None:
        super().setUp()
        self.panel.close()
        self.installer = SlicerInstaller()
        self.open()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.wheels, self.target = Path(folder.name) / "wheels", Path(folder.name) / "target"
        self.wheels.mkdir()
        write_wheel(self.wheels, _NAME)
        packaging = ModuleType("slicer.packaging")
        packaging.pip_install = self.pip_install  # type: ignore[attr-defined]
        patch = mock.patch.dict(sys.modules, {"slicer.packaging": packaging})
        patch.start()
        self.addCleanup(patch.stop)

    def pip_install(self, arguments: Sequence[str]) -> None:
        words = [python_executable(), "-m", "pip", "install", "--quiet", "--target", str(self.target), *arguments]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def need(self, name: str) -> None:
        self.plan = lambda wheels: Plan((Package(name, f"{name}>=1.0", 1),), False, wheels, "here")

    def test_packages_come_from_the_folder_that_is_named(self) -> None:
        self.add_proposed()
        self.need(_NAME)
        self.ui.wheelsPathLineEdit.setCurrentPath(str(self.wheels))
        self.start()
        self.assertIn(str(self.wheels), self.dialogs.messages[0])
        self.assertTrue((self.target / _NAME / "__init__.py").is_file())

    def test_a_package_that_is_not_there_is_named(self) -> None:
        self.add_proposed()
        self.need("asa_test_other")
        self.ui.wheelsPathLineEdit.setCurrentPath(str(self.wheels))
        self.ui.segmentButton.click()
        self.assertIn("asa_test_other>=1.0 could not be installed", self.ui.statusLabel.text)
        self.assertFalse(self.panel.logic.running)
        self.assertFalse(self.target.exists())
