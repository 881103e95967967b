"""The stand-in modules are imported by their own names: qt, ctk, standin_application."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    import qt
except ImportError as error:  # PySide6 without its system libraries
    collect_ignore_glob = ["test_*.py"]
    print(f"Testing/standin is left out: {error}. Testing/system_libraries.sh names the packages.")
else:

    @pytest.fixture(scope="session", autouse=True)
    def application() -> object:
        """Qt needs one before the first widget."""
        return qt.QApplication.instance() or qt.QApplication([])
