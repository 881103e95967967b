"""Start, stop, kill and resume runs in detached processes.

A run folder created here also contains settings.json and launch.json, which record the call, and console.txt, the
output of the process.
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

from asa.runs.layout import CONSOLE, DESCRIPTION, LAUNCH, SETTINGS, STATE, STOP
from ASASlicerLib.process import kill_tree
from ASATrainingLib.runs.run_folder import RunFolder, Status

_POSIX = os.name == "posix"


class Detached(Protocol):
    """A detached program. `poll` reaps it once it has ended."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once the program has ended, None before."""


class Launcher(Protocol):
    """Starts programs that outlive this one."""

    def detach(self, arguments: Sequence[str], folder: Path, output: Path) -> Detached:
        """Run `python *arguments` in a folder, its output appended to a file.

        Raises:
            OSError: it cannot be started.
        """


class ControlError(Exception):
    """An action failed; the message is for the user."""


class RunControl:
    """Controls runs through the engine's command line and its control files."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._children: list[Detached] = []

    def start(self, kind: str, settings: Mapping[str, Any], folder: Path, device: str) -> None:
        """Start a new run, or queue it if the device is busy.

        Args:
            kind: pretrain or finetune.
            settings: as in a settings file.
            folder: the run folder; new or empty.
            device: auto, cpu or cuda:N.

        Raises:
            ControlError: the folder is not empty or cannot be written to, or the run cannot be started.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            text = _("{folder} already exists and is not empty. Choose a new folder for this run.")
            raise ControlError(text.format(folder=folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
            (folder / LAUNCH).write_text(json.dumps({"command": kind}), encoding="utf-8")
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._launch(kind, folder, device)

    def resume(self, run: RunFolder, device: str = "") -> None:
        """Resume a run whose process has ended, on its previous device unless another is given.

        Raises:
            ControlError: the run is active, not an ASA run, or its folder cannot be written to.
        """
        if reason := self.why_not_resume(run):
            raise ControlError(reason)
        kind = run.abilities.command if run.kind else self._recorded_command(run.path)
        if run.settings:
            try:
                (run.path / SETTINGS).write_text(json.dumps(run.settings, indent=2), encoding="utf-8")
            except OSError as error:
                raise _unwritable(run.path, error) from error
        self._launch(kind, run.path, device or run.state.device or "auto")

    def why_not_resume(self, run: RunFolder) -> str:
        """Return why a run cannot be resumed, as a sentence, or "" if it can."""
        if run.problem:
            return run.problem
        if run.status.alive:
            return _("The run is still active.")
        if run.status is Status.FINISHED:
            return _("The run is finished.")
        if run.kind and not run.abilities.command:
            text = _("{file} does not record which command resumes a run of kind '{kind}'.")
            return text.format(file=run.path / DESCRIPTION, kind=run.kind)
        if not run.kind and not (run.path / LAUNCH).is_file():
            return _("{folder} does not record how the run was started, so it cannot be resumed.").format(
                folder=run.path
            )
        if run.kind and not run.settings:
            return _("The settings in {file} cannot be read.").format(file=run.path / DESCRIPTION)
        return ""

    def stop(self, run: RunFolder) -> None:
        """Ask a run to write a checkpoint and stop, also on another machine that shares the folder.

        Raises:
            ControlError: its folder cannot be written to.
        """
        try:
            (run.path / STOP).touch()
        except OSError as error:
            raise _unwritable(run.path, error) from error

    def kill(self, run: RunFolder) -> None:
        """Kill a run's process and its children.

        Raises:
            ControlError: the process runs on another machine or belongs to another user.
        """
        state = run.state
        if state.host != socket.gethostname():
            text = _("The run is on {host}. Kill it there, or stop it from here.")
            raise ControlError(text.format(host=state.host))
        try:
            _kill(state.pid)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ControlError(_("The process belongs to another user.")) from error

    def reap(self) -> None:
        """Reap ended programs, so that they do not appear alive."""
        self._children = [child for child in self._children if child.poll() is None]

    def _recorded_command(self, folder: Path) -> str:
        """Return the command of a run that ended before it wrote run.yaml."""
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
    """Write the initial state.json, until the run writes its own."""
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
        kill_tree(pid)
        return
    # A run started here has a session of its own, with the programs that started it and those it started. One that was
    # started from a terminal may share its group with others, and the session is the terminal's.
    group = os.getpgid(pid)
    if group in (pid, os.getsid(pid)) and group != os.getpgrp():
        os.killpg(group, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)
