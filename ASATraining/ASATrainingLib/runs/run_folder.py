"""Read run folders for the panel, tolerating missing, incomplete or foreign files.

The training program writes run.yaml and state.json (see asa.runs.layout); there is no other communication with it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from asa.liveness import process_alive
from asa.runs.abilities import Abilities, abilities
from asa.runs.layout import CHECKPOINT_SUFFIX, CHECKPOINTS, DESCRIPTION, FORMAT, STATE

SILENCE_S = 1800.0  # after which a run on another machine is considered crashed


class Status(Enum):
    """Status of a run."""

    NEW = "not started"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    DIED = "died"

    @property
    def alive(self) -> bool:
        """Whether a process is running or queued."""
        return self in (Status.QUEUED, Status.STARTING, Status.RUNNING)


_PHASES = {
    "queued": Status.QUEUED,
    "starting": Status.STARTING,
    "running": Status.RUNNING,
    "finished": Status.FINISHED,
    "early": Status.FINISHED,
    "stopped": Status.STOPPED,
    "failed": Status.FAILED,
}


@dataclass(frozen=True)
class RunState:
    """Content of state.json, corrected for processes that have ended.

    `step` of `steps` optimiser steps are done (`steps` is 0 if unknown); `heartbeat` is in s since 1970; `device` is
    the one it is queued for or runs on, "" if unknown.
    """

    status: Status = Status.NEW
    step: int = 0
    steps: int = 0
    pid: int = 0
    host: str = ""
    heartbeat: float = 0.0
    device: str = ""

    @property
    def here(self) -> bool:
        """Whether its process runs or ran on this machine."""
        return self.host == socket.gethostname()


@dataclass(frozen=True)
class RunFolder:
    """Snapshot of a run folder.

    `kind`: as run.yaml names it, "" where it is not known; `abilities`: what can be done with a run, as it says
    itself. `settings`: as in run.yaml, {} where they cannot be read. `problem`: a sentence why this folder is not to be
    worked with, "" when it is.
    """

    path: Path
    kind: str = ""
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""
    state: RunState = RunState()
    abilities: Abilities = field(default_factory=Abilities)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def status(self) -> Status:
        """Whether the run is queued, running or ended, and how."""
        return self.state.status

    def checkpoints(self) -> list[Path]:
        """Return checkpoint files, oldest first."""
        found = self.path.joinpath(CHECKPOINTS).glob(f"[!.]*{CHECKPOINT_SUFFIX}")
        return sorted(found, key=lambda path: (_modified(path), path.name))


def read_run(path: Path) -> RunFolder:
    """Read a folder; never raises for its contents."""
    path = Path(path)
    state = read_state(path)
    try:
        text = (path / DESCRIPTION).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = _("{folder} is not a run folder: it has no {file}.")
        problem = "" if state.status is not Status.NEW else text.format(folder=path, file=DESCRIPTION)
        return RunFolder(path, problem=problem, state=state)
    except OSError as error:
        text = _("{file} cannot be read: {reason}.")
        return RunFolder(path, problem=text.format(file=path / DESCRIPTION, reason=error.strerror), state=state)
    record = _parse(text)
    version, kind = record.get("format"), str(record.get("kind") or "")
    problem = ""
    if isinstance(version, int) and version > FORMAT:
        problem = _("{folder} was written by a newer version of ASA (format {version}). Update ASA to open it.")
    elif not kind:
        problem = _("{file} is damaged: the kind of run is missing.")
    problem = problem.format(folder=path, file=path / DESCRIPTION, version=version)
    parts = {key: record[key] for key in ("settings", "data") if isinstance(record.get(key), dict)}
    return RunFolder(path, kind, problem=problem, state=state, abilities=abilities(record), **parts)


def read_state(
    path: Path,
    alive: Callable[[int], bool] = process_alive,
    host: Callable[[], str] = socket.gethostname,
    now: Callable[[], float] = time.time,
) -> RunState:
    """Read state.json of a folder; a run whose process ended unexpectedly is DIED."""
    values: Any = None
    with contextlib.suppress(OSError, ValueError):
        values = json.loads((path / STATE).read_text(encoding="utf-8", errors="replace"))
    if not isinstance(values, dict):
        return RunState()
    status = _PHASES.get(str(values.get("phase")), Status.NEW)
    pid, heartbeat = int(_number(values, "pid")), _number(values, "time")
    where = str(values.get("host") or "")
    if status.alive:
        there = alive(pid) if where == host() else now() - heartbeat < SILENCE_S
        status = status if there else Status.DIED
    step, steps = int(_number(values, "step")), int(_number(values, "steps"))
    return RunState(status, step, steps, pid, where, heartbeat, str(values.get("device") or ""))


def _number(values: dict[str, Any], key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # replaced concurrently
        return 0.0


def _parse(text: str) -> dict[str, Any]:
    """Return the mapping in a YAML text; without the package yaml, as in a fresh Slicer, only plain lines are read."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        return {key: _scalar(value) for key, value in re.findall(r"^(\w+): *(\S.*)$", text, re.MULTILINE)}
    try:
        record = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return record if isinstance(record, dict) else {}


def _scalar(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value.strip()
