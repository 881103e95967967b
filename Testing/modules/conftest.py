"""The modules run here over stand-ins for Qt and the application; see Testing/standin/README.md."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "standin"))

try:
    import standin_application
except ImportError as error:  # PySide6 or slicer-core, or the system libraries they need
    collect_ignore_glob = ["test_driven*.py", "test_module*.py", "test_panel*.py", "test_job*.py", "test_training*.py"]
    print(f"Tests of the modules are left out: {error}. Testing/system_libraries.sh names the packages.")
else:
    standin_application.start()
