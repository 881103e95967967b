"""The laboratory without Qt: which runs are known, which one is looked at, and what has changed in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from ASASlicerLib.engine_job import CleanUp, EngineJob
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASATrainingLib.runs.control import RunControl
from ASATrainingLib.runs.run_folder import RunFolder, read_run, read_state

_RUNS = "ASATraining/runs"
_REMEMBERED = 50


class Store(Protocol):
    """Where things are kept from one session to the next: QSettings, as far as it is used."""

    def value(self, key: str) -> Any: ...

    def setValue(self, key: str, value: Any) -> None: ...


class TrainingLogic:
    """The known runs, newest first, and the current one.

    `settings` keeps the list of runs; `runner` starts the engine's programs; `parameter_node` gives the module's
    parameter node, which is another one after the scene was closed; `control` starts and stops runs. Call `poll` about
    once a second.

    Signals, all plain Python: `runs_changed()` when a run was added or forgotten, `current_run_changed()` when another
    one is looked at, `run_state_changed(RunFolder)` when the state.json of a known run changed, or its process ended,
    `store_ready(kind, Path)` when data was prepared to pretrain or finetune with, `models_changed()`.
    """

    def __init__(
        self,
        settings: Store,
        runner: ProcessRunner,
        parameter_node: Callable[[], Any],
        control: RunControl,
    ) -> None:
        self.runs_changed, self.current_run_changed, self.run_state_changed = Signal(), Signal(), Signal()
        self.store_ready, self.models_changed = Signal(), Signal()
        self.runner = runner
        self.control = control
        self._clean_up = CleanUp()
        self.parameter_node = parameter_node
        self._settings = settings
        self._runs = {path: read_run(path) for path in self._stored() if path.is_dir()}
        self._current: Path | None = None

    @property
    def runs(self) -> list[RunFolder]:
        """Every known run, as last read."""
        return list(self._runs.values())

    @property
    def current_run(self) -> RunFolder | None:
        """The run that the tabs are about."""
        return self._runs.get(self._current) if self._current is not None else None

    def open_run(self, path: Path) -> RunFolder:
        """Adds a run folder to the known ones (first) and makes it the current one."""
        path = Path(path).absolute()
        if path not in self._runs:
            self._runs = {path: read_run(path), **self._runs}
            self._store()
            self.runs_changed()
        self.set_current(path)
        return self._runs[path]

    def forget_run(self, path: Path) -> None:
        """Takes a run off the list; its folder stays as it is."""
        if self._runs.pop(path, None) is not None:
            self._store()
            if self._current == path:
                self.set_current(next(iter(self._runs), None))
            self.runs_changed()

    def set_current(self, path: Path | None) -> None:
        """Looks at another known run, or at none."""
        path = path if path in self._runs else None
        if path != self._current:
            self._current = path
            self.current_run_changed()

    def let_go(self, job: EngineJob[Any]) -> None:
        """Ends a program that runs, and removes what it leaves as soon as that can be."""
        job.cancel()
        self._clean_up.add(job)

    def close(self) -> None:
        """Removes what is left of programs; runs go on."""
        self._clean_up.finish()

    def remembered(self, key: str) -> str:
        """What was last kept under a key, from one session to the next; "" if nothing was."""
        return str(self._settings.value(f"ASATraining/{key}") or "")

    def remember(self, key: str, text: str) -> None:
        """Keeps a text under a key."""
        self._settings.setValue(f"ASATraining/{key}", text)

    def refresh(self, path: Path) -> None:
        """Reads a known run again and tells when it has changed."""
        before = self._runs.get(path)
        if before is not None and (found := read_run(path)) != before:
            self._runs[path] = found
            self.run_state_changed(found)

    def poll(self) -> None:
        """Looks at state.json of each known run, and reads those again in which it has changed."""
        self.control.reap()
        self._clean_up.go_on()
        for path, run in list(self._runs.items()):
            if read_state(path) != run.state:
                self.refresh(path)

    def _stored(self) -> Iterable[Path]:
        try:
            paths = json.loads(str(self._settings.value(_RUNS) or "[]"))
        except ValueError:
            return []
        return [Path(path) for path in paths if isinstance(path, str)] if isinstance(paths, list) else []

    def _store(self) -> None:
        self._settings.setValue(_RUNS, json.dumps([str(path) for path in self._runs][:_REMEMBERED]))
