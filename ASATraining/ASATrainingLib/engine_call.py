"""Run a short engine command in a separate process and read its JSON output."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asa.events import FLAG, Reported
from ASASlicerLib.engine_job import EngineJob
from ASASlicerLib.process import ProcessRunner
from ASASlicerLib.steps import Steps

SETTINGS = "settings.json"


class EngineCall(EngineJob[Any]):
    """Runs `asa *arguments`.

    `result` is the JSON value it printed, or the list of its events if it printed events; None if no result is
    expected. `settings`, if given, are written to the file `SETTINGS`, which the arguments may name. `preparation` is
    work done before the command starts. `on_event` is called with each event as it arrives.
    """

    result: Any

    def __init__(
        self,
        runner: ProcessRunner,
        arguments: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        on_event: Callable[[Reported], None] = lambda _event: None,
        expects_result: bool = True,
        preparation: Steps[None] | None = None,
    ) -> None:
        self._arguments = [str(word) for word in arguments]
        self._settings = settings
        self._on_event = on_event
        self._expects_result = expects_result
        self._preparation = preparation
        self.events: list[Reported] = []
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        """Prepare the inputs and return the arguments for Python.

        Raises:
            OSError: a file cannot be written.
        """
        yield True
        if self._preparation is not None:
            yield from self._preparation
        if self._settings is not None:
            (self.folder / SETTINGS).write_text(json.dumps(self._settings), encoding="utf-8")
        return ["-m", "asa", *self._arguments, FLAG]

    def take(self, event: Reported) -> None:
        """Record an event and pass it to the listener."""
        self.events.append(event)
        self._on_event(event)

    def results(self) -> Steps[Any]:
        """Return the events, or the JSON value that the command printed.

        Raises:
            ValueError: the output holds no JSON.
        """
        yield True
        if self.events or not self._expects_result:
            return self.events or None
        return _last_json(self.log)


def _last_json(lines: Sequence[str]) -> Any:
    for line in reversed(lines):
        if line.startswith(("{", "[")):
            return json.loads(line)
    raise ValueError("The program printed no JSON.")
