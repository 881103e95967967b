"""One of the engine's short commands: it is asked in a process of its own, and answers in JSON."""

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
    """`asa *words`; `result` is the JSON value it printed, or the list of its events where it prints a line an event;
    None where it is not `asked` for any.

    `settings`, if given, are written to the file `SETTINGS`, which the words may name. `first` is work to be done
    before it is asked. `on_event` is called with each event as it comes.
    """

    result: Any

    def __init__(
        self,
        runner: ProcessRunner,
        words: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        on_event: Callable[[Reported], None] = lambda _event: None,
        asked: bool = True,
        first: Steps[None] | None = None,
    ) -> None:
        self._words = [str(word) for word in words]
        self._settings = settings
        self._on_event = on_event
        self._asked = asked
        self._first = first
        self.events: list[Reported] = []
        super().__init__(runner)

    def prepare(self) -> Steps[list[str]]:
        yield True
        if self._first is not None:
            yield from self._first
        if self._settings is not None:
            (self.folder / SETTINGS).write_text(json.dumps(self._settings), encoding="utf-8")
        return ["-m", "asa", *self._words, FLAG]

    def take(self, event: Reported) -> None:
        self.events.append(event)
        self._on_event(event)

    def results(self) -> Steps[Any]:
        yield True
        if self.events or not self._asked:
            return self.events or None
        return _last_json(self.log)


def _last_json(lines: Sequence[str]) -> Any:
    for line in reversed(lines):
        if line.startswith(("{", "[")):
            return json.loads(line)
    raise ValueError("the program said nothing")
