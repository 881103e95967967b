"""Training logic without Qt: known runs, the current one, and changes in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ASASlicerLib.engine_job import CleanUp, EngineJob
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.store import Store
from ASATrainingLib.runs.control import RunControl
from ASATrainingLib.runs.run_folder import RunFolder, read_run, read_state

_RUNS = "ASATraining/runs"
_REMEMBERED = 50


class TrainingLogic:
    """The known runs, newest first, and the current one.

    `settings` stores the list of runs; `runner` starts engine programs; `parameter_node` returns the module's parameter
    node, which changes when the scene is closed; `control` starts and stops runs. Call `poll` about once a second.

    Signals, in plain Python: `runs_changed()` when a run is added or removed, `current_run_changed()` when another run
    is selected, `run_state_changed(RunFolder)` when the state.json of a known run changes or its process ends,
    `store_ready(kind, Path)` when data for pretrain or finetune is prepared, `models_changed()`.
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
        """All known runs, as last read."""
        return list(self._runs.values())

    @property
    def current_run(self) -> RunFolder | None:
        """The run shown in the tabs."""
        return self._runs.get(self._current) if self._current is not None else None

    def open_run(self, path: Path) -> RunFolder:
        """Add a run folder to the top of the list and select it."""
        path = Path(path).absolute()
        if path not in self._runs:
            self._runs = {path: read_run(path), **self._runs}
            self._store()
            self.runs_changed()
        self.set_current(path)
        return self._runs[path]

    def forget_run(self, path: Path) -> None:
        """Remove a run from the list; its folder is not changed."""
        if self._runs.pop(path, None) is not None:
            self._store()
            if self._current == path:
                self.set_current(next(iter(self._runs), None))
            self.runs_changed()

    def set_current(self, path: Path | None) -> None:
        """Select another known run, or none."""
        path = path if path in self._runs else None
        if path != self._current:
            self._current = path
            self.current_run_changed()

    def release(self, job: EngineJob[Any]) -> None:
        """Cancel a program and remove its files as soon as possible."""
        job.cancel()
        self._clean_up.add(job)

    def close(self) -> None:
        """Remove remaining files of programs; runs continue."""
        self._clean_up.finish()

    def remembered(self, key: str) -> str:
        """Return the text stored under a key in an earlier call or session, or ""."""
        return str(self._settings.value(f"ASATraining/{key}") or "")

    def remember(self, key: str, text: str) -> None:
        """Store a text under a key."""
        self._settings.setValue(f"ASATraining/{key}", text)

    def refresh(self, path: Path) -> None:
        """Read a known run again and report changes."""
        before = self._runs.get(path)
        if before is not None and (found := read_run(path)) != before:
            self._runs[path] = found
            self.run_state_changed(found)

    def poll(self) -> None:
        """Check state.json of each known run, and read changed runs again."""
        self.control.reap()
        self._clean_up.advance()
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
