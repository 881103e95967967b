"""Run TensorBoard as a separate process and open it in the browser."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from ASASlicerLib.process import Process, ProcessRunner

_FOLDER = "tensorboard"
_ADDRESS = re.compile(r"https?://[^\s/]+:\d+/?")


class TensorBoard:
    """TensorBoard process for one run folder at a time; ended by `stop`.

    `open_address` opens an address in the browser, `say` shows a message.
    """

    def __init__(
        self, runner: ProcessRunner, open_address: Callable[[str], object], say: Callable[[str], object]
    ) -> None:
        self._runner = runner
        self._open, self._say = open_address, say
        self._process: Process | None = None
        self._address = ""
        self._folder: Path | None = None
        self._words = ""  # last output line, in case it ends early

    @staticmethod
    def installed() -> bool:
        """Return whether the package is installed, without importing it."""
        return importlib.util.find_spec("tensorboard") is not None

    def show(self, run: Path) -> None:
        """Start TensorBoard for a run, or open it again."""
        if not (run / _FOLDER).is_dir():
            self._say(_("This run has no TensorBoard data: the package was not installed where it ran."))
            return
        if self._process is not None and run == self._folder and self._process.exit_code is None:
            if self._address:
                self._open(self._address)
            return
        self.stop()
        try:
            self._process = self._runner.start(
                ["-m", "tensorboard.main", "--logdir", str(run / _FOLDER), "--host", "localhost", "--port", "0"], run
            )
        except OSError as error:
            self._say(_("TensorBoard could not be started: {reason}.").format(reason=error.strerror or error))
            return
        self._folder, self._address, self._words = run, "", ""
        self._say(_("Starting TensorBoard; it opens in the browser."))

    def poll(self) -> None:
        """Check for the address; call it periodically."""
        if self._process is None:
            return
        for _stream, line in self._process.lines():
            self._words = line.strip() or self._words
            found = _ADDRESS.search(line)
            if found and not self._address:
                self._address = found.group(0)
                self._open(self._address)
                self._say(_("TensorBoard is running at {address}.").format(address=self._address))
        if self._process.exit_code is not None:
            self._process = None
            self._say(_("TensorBoard ended: {words}").format(words=self._words))

    def stop(self) -> None:
        """End TensorBoard, if it is running."""
        if self._process is not None:
            self._process.stop()
            self._process = None
