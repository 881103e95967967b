"""Collaborators for tests: an engine that says what it is received to, and a launcher that starts nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asa.events import FLAG, Failed, to_line

SETTINGS_FORM: list[dict[str, Any]] = [
    {
        "kind": "pretrain",
        "rows": [
            {"key": "store", "type": "string", "required": True},
            {"key": "method", "type": "choice", "choices": ["asa", "mae"], "help": "what is predicted"},
            {
                "key": "mask_ratio",
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "open_below": True,
                "open_above": True,
                "help": "share of patches that are hidden",
            },
            {"key": "crop", "type": "integers", "length": 3, "nullable": True, "unit": "voxels"},
            {"key": "encoder", "type": "object"},
            {"key": "flip", "type": "boolean"},
            {"key": "schedule.log_every", "type": "integer", "minimum": 0, "open_below": True, "unit": "steps"},
        ],
        "presets": {
            "starter": {"method": "asa", "mask_ratio": 0.75, "crop": [96, 96, 96], "flip": True,
                        "schedule.log_every": 10},
            "paper": {"method": "asa", "mask_ratio": 0.75, "crop": None, "flip": False, "schedule.log_every": 50},
        },
        "datasets": [],
    },
    {
        "kind": "finetune",
        "rows": [
            {"key": "store", "type": "string", "required": True},
            {"key": "init", "type": "string"},
            {"key": "network", "type": "string", "help": "a name of the registry"},
        ],
        "presets": {"starter": {"network": "asa"}},
        "datasets": [{"name": "brats2021", "title": "BraTS 2021", "task": "tumour"}],
    },
]  # fmt: skip
ESTIMATE = {
    "device": "cpu", "parameters": 5_600_000, "samples": 12, "steps": 450, "epoch_steps": 3.0, "step_seconds": 6.0,
    "epoch_seconds": 18.0, "seconds": 2700.0, "memory": 1_700_000_000, "free_memory": 8_000_000_000,
    "disk": 160_000_000, "free_disk": 80_000_000_000, "warnings": [],
}  # fmt: skip


class FakeEngineProcess:
    """A command of the engine that runs until it is received how it ends."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.arguments = [word for word in arguments if word != FLAG]  # it always says its failures as events
        self.folder = folder
        self.stopped = False
        self._lines: list[tuple[str, str]] = []
        self._exit_code: int | None = None

    def say(self, value: object) -> None:
        """Prints a JSON value."""
        self._lines.append(("stdout", json.dumps(value)))

    def end(self, error: str = "", code: int = 0) -> None:
        if error:
            self._lines.append(("stdout", to_line(Failed(error, code or 3))))
        self._exit_code = code or (3 if error else 0)

    def lines(self) -> list[tuple[str, str]]:
        lines, self._lines = self._lines, []
        return lines

    @property
    def exit_code(self) -> int | None:
        return None if self._lines else self._exit_code

    def stop(self) -> None:
        self.stopped = True
        self._exit_code = -15


class FakeEngine:
    """Starts a FakeEngineProcess for each command and remembers it, the newest last."""

    def __init__(self) -> None:
        self.started: list[FakeEngineProcess] = []

    @property
    def process(self) -> Any:
        return self.started[-1] if self.started else None

    def start(self, arguments: Sequence[str], folder: Path) -> FakeEngineProcess:
        self.started.append(FakeEngineProcess(arguments, folder))
        return self.started[-1]

    def running(self, command: str) -> FakeEngineProcess | None:
        """The newest process of `asa <command>` that was not received to end."""
        found = [one for one in self.started if one.arguments[2] == command and one._exit_code is None]
        return found[-1] if found else None


class FakeChild:
    """A detached program with an unused process id."""

    pid = 2**22 + 1

    def poll(self) -> int | None:
        return None


class FakeLauncher:
    """Remembers what it was to start; with `reason` it cannot."""

    def __init__(self) -> None:
        self.launched: list[list[str]] = []
        self.reason = ""

    def detach(self, arguments: Sequence[str], folder: Path, output: Path) -> FakeChild:
        if self.reason:
            raise OSError(self.reason)
        self.launched.append(list(arguments))
        return FakeChild()
