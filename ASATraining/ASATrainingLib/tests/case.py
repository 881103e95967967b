"""What the tests of the panel share: an empty scene, run folders in a folder of their own, a panel over them."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
import unittest
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from ASASlicerLib.tests.fakes import FakeDialogs, FakeInstaller, MemoryStore, nothing_missing
from ASASlicerLib.tests.scene import parameter_node
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.panel import Panel
from ASATrainingLib.runs.control import RunControl
from ASATrainingLib.tests.fakes import FakeEngine, FakeLauncher

FORMS = Path(__file__).parents[2] / "Resources" / "UI"


def write_run(folder: Path, kind: str = "pretraining", version: int = 1, **settings: Any) -> Path:
    """A run folder without a process: run.yaml only."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"format": version, "kind": kind, "settings": settings, "data": {}}  # JSON is YAML
    lines = [f"{key}: {json.dumps(value)}" for key, value in record.items()]
    (folder / "run.yaml").write_text("\n".join(lines).replace('"' + kind + '"', kind), encoding="utf-8")
    return folder


def write_state(folder: Path, phase: str, **values: Any) -> None:
    """state.json as this process would write it."""
    state = {"phase": phase, "pid": os.getpid(), "host": socket.gethostname(), "step": 3, "steps": 10}
    state |= {"time": time.time(), **values}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def report(what: str, busy_s: float) -> None:
    """Says how long the GUI thread was busy at most; no assertion, for how long depends on the machine."""
    sys.stderr.write(f"\nGUI thread busy for {1000 * busy_s:.0f} ms at most: {what}\n")


class FolderTestCase(unittest.TestCase):
    """A folder for run folders."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class PanelTestCase(FolderTestCase):
    """An empty scene and a panel that knows no run yet."""

    def setUp(self) -> None:
        super().setUp()
        slicer.mrmlScene.Clear(0)
        self.store, self.dialogs = MemoryStore(), FakeDialogs()
        self.runner: Any = FakeEngine()
        self.launcher, self.installer, self.plan = FakeLauncher(), FakeInstaller(), nothing_missing
        self.open()

    def open(self) -> None:
        """Opens a panel, after closing the one before."""
        self.widget = slicer.util.loadUI(str(FORMS / "ASATraining.ui"))
        self.logic = TrainingLogic(
            self.store, self.runner, partial(parameter_node, "ASATrainingTest"), RunControl(self.launcher)
        )
        plan = lambda wheels: self.plan(wheels)  # noqa: E731
        self.panel = Panel(self.widget, self.logic, self.dialogs, FORMS, self.installer, plan)
        self.ui = self.panel.ui
        self.widget.show()

    def close(self) -> None:
        self.panel.close()
        self.widget.close()
        self.widget.deleteLater()

    def tearDown(self) -> None:
        self.close()
        slicer.mrmlScene.Clear(0)
