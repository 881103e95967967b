"""Python files that are no part of a package, such as those of Resources/Scripts, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).resolve().parents[1] / "Resources" / "Scripts"


def load_script(name: str) -> ModuleType:
    """Run a file of Resources/Scripts, named without suffix, as a module of its own."""
    path = SCRIPTS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
