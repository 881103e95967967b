"""Run folders: settings, events, checkpoints, previews and log, the only interface to a run.

Which files it holds: :mod:`asa.runs.layout`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from asa.errors import InputError, OutputError
from asa.files import read_json, write_json, write_text
from asa.runs.layout import (
    CHECKPOINT_SUFFIX,
    CHECKPOINTS,
    DESCRIPTION,
    ENDED,
    EVENTS,
    FORMAT,
    LOG,
    PREVIEWS,
    STATE,
    STOP,
)

PACKAGES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "safetensors", "monai")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def changed(old: Mapping[str, Any], new: Mapping[str, Any], name: str = "") -> str:
    """What differs between two settings, nested ones by their dotted names: ``crop 64 -> 96, optimisation.lr ...``."""
    found = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.append(changed(before, after, f"{name}{key}."))
        elif before != after:
            found.append(f"{name}{key} {before} -> {after}")
    return ", ".join(text for text in found if text)


class Run:
    """One run folder, opened for writing (by rank 0) or for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []

    @property
    def events_path(self) -> Path:
        return self.folder / EVENTS

    def checkpoint_path(self, name: str) -> Path:
        """``last``, ``best`` or :func:`asa.runs.layout.kept_name`."""
        return self.folder / CHECKPOINTS / f"{name}{CHECKPOINT_SUFFIX}"

    @property
    def stop_path(self) -> Path:
        """A file that asks for a checkpoint and a stop: signals do not reach other machines, nor anyone on Windows."""
        return self.folder / STOP

    @staticmethod
    def create(
        folder: Path,
        kind: str,
        settings: dict[str, Any],
        data: dict[str, Any],
        *,
        command: str = "",
        model: dict[str, Any] | None = None,
    ) -> Run:
        """Make the folder, or continue in one; run.yaml says the settings that it continues with, log.txt what changed.

        Args:
            kind: of run; a folder is continued by a run of the same kind only.
            settings: as resolved.
            data: fingerprint of what it is trained on.
            command: of ``asa``, which starts and resumes it.
            model: what model.json says of a model that is made of it: task, modalities, output ...; None where the
                network segments nothing.

        Raises:
            InputError: the folder holds a run of another kind or format.
            OutputError: no room or no permission.
        """
        run, changes = Run(folder), ""
        description = run.folder / DESCRIPTION
        if description.exists():
            old = run.describe()
            if old.get("format", 0) > FORMAT:
                raise InputError(
                    f"{folder} was written by a newer version of ASA (format {old['format']}). Update ASA to use it."
                )
            if old.get("kind") != kind:
                raise InputError(
                    f"{folder} contains a run of kind '{old.get('kind')}', not '{kind}'; choose another folder."
                )
            before = old.get("settings")
            changes = changed(before if isinstance(before, dict) else {}, settings)
        try:
            for sub in (CHECKPOINTS, PREVIEWS):
                (run.folder / sub).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be created: {(error.strerror or str(error)).lower()}") from error
        record: dict[str, Any] = {"format": FORMAT, "kind": kind}
        record |= {"command": command, "segments": model is not None} if command else {}
        record |= {"model": model} if model is not None else {}
        record |= {"settings": settings, "data": data, "versions": versions()}
        write_text(description, yaml.safe_dump(record, sort_keys=False))
        if changes:
            run.log(f"Resumed with different settings: {changes}.")
        return run

    def describe(self) -> dict[str, Any]:
        """Return the contents of run.yaml.

        Raises:
            InputError: it is damaged.
            OSError: it cannot be read.
        """
        path = self.folder / DESCRIPTION
        try:
            record = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise ValueError("It contains no settings.")
            if not isinstance(record.get("format", 0), int):
                raise ValueError("Its format is not a number.")
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is damaged ({reason}); choose another folder.") from error
        return record

    def event(self, kind: str, **values: Any) -> None:
        """Append one line to events.jsonl and tell the listeners; a full disk loses the line, not the run."""
        line = json.dumps({"event": kind, "time": round(time.time(), 3), **values})
        try:
            with self.events_path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            _print(f"Event not written: {error.strerror}.")
        for listener in self.listeners:
            listener(kind, values)

    def log(self, text: str) -> None:
        """Append a line to log.txt and print it."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        _print(line)
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def heartbeat(self, phase: str, step: int, steps: int = 0, **more: str) -> None:
        """Record that the process is alive, its phase, and ``step`` of ``steps`` (0: unknown)."""
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        state = {"phase": phase, **who, "step": step, "steps": steps, "time": time.time(), **more}
        try:
            write_json(self.folder / STATE, state)
        except Exception as error:
            _print(f"Heartbeat not written: {error}")

    def ended_here(self) -> bool:
        """Return whether this process has recorded the end of the run."""
        try:
            state = read_json(self.folder / STATE)
        except (OSError, ValueError):
            return False
        return state.get("pid") == os.getpid() and state.get("phase") in ENDED


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that has gone, or a full disk, does not end a run
        print(line, flush=True)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Events of a run, oldest first; half-written and foreign lines are passed over."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and "event" in event:
                yield event
