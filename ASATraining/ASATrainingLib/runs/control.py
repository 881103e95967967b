"""Runs are started, stopped, killed and resumed. Nothing here outlives a call: the run's own process does.

A run folder made here also holds settings.json and launch.json, with which its program was called, and console.txt,
which that said.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from asa.runs.layout import CONSOLE, DESCRIPTION, STATE, STOP
from ASASlicerLib.process import end_tree
from ASATrainingLib.runs.run_folder import RunFolder, Status

SETTINGS, LAUNCH = "settings.json", "launch.json"
_POSIX = os.name == "posix"


class Detached(Protocol):
    """A program that was let go of. `poll` collects it once it has ended."""

    pid: int

    def poll(self) -> int | None: ...


class Launcher(Protocol):
    """Starts programs that go on when this one ends."""

    def detach(self, arguments: Sequence[str], folder: Path, output: Path) -> Detached:
        """Runs `python *arguments` in a folder, its output appended to a file. Raises OSError."""


class ControlError(Exception):
    """Something cannot be done; a sentence for the user."""


class RunControl:
    """Acts on run folders through the engine's command line and the files it looks at."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._children: list[Detached] = []

    def start(self, kind: str, settings: Mapping[str, Any], folder: Path, device: str) -> None:
        """Starts a new run, or queues it where others have the device. `kind` is pretrain or finetune.

        Raises ControlError: the folder is in use or cannot be written to.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            text = _("{folder} exists already and is not empty; choose a new folder for this run.")
            raise ControlError(text.format(folder=folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
            (folder / LAUNCH).write_text(json.dumps({"command": kind}), encoding="utf-8")
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._launch(kind, folder, device)

    def resume(self, run: RunFolder, device: str = "") -> None:
        """Goes on with a run whose process is gone, on the device it was on unless another is named.

        Raises ControlError: it runs, it is not one of ours, or its folder cannot be written to.
        """
        if reason := self.why_not_resume(run):
            raise ControlError(reason)
        kind = run.abilities.command if run.kind else self._kind_of_unborn(run.path)
        if run.settings:
            try:
                (run.path / SETTINGS).write_text(json.dumps(run.settings, indent=2), encoding="utf-8")
            except OSError as error:
                raise _unwritable(run.path, error) from error
        self._launch(kind, run.path, device or run.state.device or "auto")

    def why_not_resume(self, run: RunFolder) -> str:
        """A sentence, "" when it can be resumed."""
        if run.problem:
            return run.problem
        if run.status.alive:
            return _("The run is going on.")
        if run.status is Status.FINISHED:
            return _("The run has come to its end.")
        if run.kind and not run.abilities.command:
            text = _("{file} does not say which command resumes a run of kind '{kind}'.")
            return text.format(file=run.path / DESCRIPTION, kind=run.kind)
        if not run.kind and not (run.path / LAUNCH).is_file():
            return _("{folder} does not say how it was started.").format(folder=run.path)
        if run.kind and not run.settings:
            return _("The settings in {file} cannot be read.").format(file=run.path / DESCRIPTION)
        return ""

    def stop(self, run: RunFolder) -> None:
        """Asks a run to write a checkpoint and stop; also one on another machine that shares the folder.

        Raises ControlError: its folder cannot be written to.
        """
        try:
            (run.path / STOP).touch()
        except OSError as error:
            raise _unwritable(run.path, error) from error

    def kill(self, run: RunFolder) -> None:
        """Ends a run's process, and all that it started, at once.

        Raises ControlError: it is not a process of this machine, or not one of this user.
        """
        state = run.state
        if state.host != socket.gethostname():
            text = _("The run is on {host}; kill it there, or stop it here.")
            raise ControlError(text.format(host=state.host))
        try:
            _kill(state.pid)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ControlError(_("The process belongs to another user.")) from error

    def reap(self) -> None:
        """Collects the programs that have ended, so that nobody takes them for alive."""
        self._children = [child for child in self._children if child.poll() is None]

    def _kind_of_unborn(self, folder: Path) -> str:
        """The command of a run that ended before it wrote run.yaml."""
        try:
            return str(json.loads((folder / LAUNCH).read_text(encoding="utf-8"))["command"])
        except (OSError, ValueError, LookupError) as error:
            text = _("{file} cannot be read: {reason}")
            raise ControlError(text.format(file=folder / LAUNCH, reason=error)) from error

    def _launch(self, kind: str, folder: Path, device: str) -> None:
        words = ["-m", "asa", kind, str(folder / SETTINGS), "-o", str(folder), "--device", device]
        words += ["--queue"] if kind != "train" else []
        stop = folder / STOP
        try:
            stop.unlink(missing_ok=True)
            child = self._launcher.detach(words, folder, folder / CONSOLE)
            self._children.append(child)
            _tell(folder, child.pid, device)
        except (OSError, subprocess.SubprocessError) as error:
            text = _("The run could not be started in {folder}: {reason}")
            raise ControlError(text.format(folder=folder, reason=error)) from error


def _unwritable(folder: Path, error: OSError) -> ControlError:
    text = _("{folder} cannot be written to: {reason}.")
    return ControlError(text.format(folder=folder, reason=error.strerror or error))


def _tell(folder: Path, pid: int, device: str) -> None:
    """The first state.json, until the run's program has come so far as to write its own."""
    state = {"phase": "starting", "pid": pid, "host": socket.gethostname(), "device": device, "time": time.time()}
    before = folder / STATE
    if before.is_file():
        try:
            old = json.loads(before.read_text(encoding="utf-8"))
            state |= {key: old[key] for key in ("step", "steps") if key in old}
        except (OSError, ValueError):
            pass
    temporary = folder / f".{STATE}.new"
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(before)


def _kill(pid: int) -> None:
    if not _POSIX:
        end_tree(pid)
        return
    # A run started here has a session of its own, with the programs that started it and those it started. One that was
    # started from a terminal may share its group with others, and the session is the terminal's.
    group = os.getpgid(pid)
    if group in (pid, os.getsid(pid)) and group != os.getpgrp():
        os.killpg(group, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)
