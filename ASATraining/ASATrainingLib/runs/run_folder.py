"""A run folder as the panel sees it: read only, and whatever is missing, half written or foreign is put up with.

The training program writes run.yaml and state.json (see asa.runs.layout); nothing here talks to it.
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

from asa.runs.abilities import Abilities, abilities
from asa.runs.layout import CHECKPOINT_SUFFIX, CHECKPOINTS, DESCRIPTION, FORMAT, STATE
from ASATrainingLib.runs.liveness import process_alive

SILENCE_S = 1800.0  # after which a run on another machine, whose process cannot be asked for, is taken for dead


class Status(Enum):
    """Where a run is."""

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
        """Whether a process works on it, or waits for its turn."""
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
    """What state.json says, and whether it is still true.

    `step` of `steps` optimiser steps are done (`steps` is 0 where nobody knows); `heartbeat` is in s since 1970;
    `device` is the one it waits for or runs on, "" if not told.
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
        """Whether its process is, or was, one of this machine."""
        return self.host == socket.gethostname()


@dataclass(frozen=True)
class RunFolder:
    """One run folder at the moment it was read.

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
        return self.path.name

    @property
    def status(self) -> Status:
        return self.state.status

    def checkpoints(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        found = self.path.joinpath(CHECKPOINTS).glob(f"[!.]*{CHECKPOINT_SUFFIX}")
        return sorted(found, key=lambda path: (_modified(path), path.name))


def read_run(path: Path) -> RunFolder:
    """Reads a folder; never raises for what is in it."""
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
        problem = _("{folder} was written by a newer version of ASA (format {version}); update ASA to work with it.")
    elif not kind:
        problem = _("{file} is damaged: it does not say what kind of run this is.")
    problem = problem.format(folder=path, file=path / DESCRIPTION, version=version)
    parts = {key: record[key] for key in ("settings", "data") if isinstance(record.get(key), dict)}
    return RunFolder(path, kind, problem=problem, state=state, abilities=abilities(record), **parts)


def read_state(
    path: Path,
    alive: Callable[[int], bool] = process_alive,
    host: Callable[[], str] = socket.gethostname,
    now: Callable[[], float] = time.time,
) -> RunState:
    """What state.json of a folder says; a run whose process is gone without a word is DIED."""
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
    except OSError:  # replaced meanwhile
        return 0.0


def _parse(text: str) -> dict[str, Any]:
    """The mapping in a YAML text; without a YAML reader, as in a Slicer that was never set up to train, its plain
    lines only."""
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
