"""segmentation.seg.nrrd, written by `ASASegmentationLib` in a separate process: the engine never imports `slicer`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from asa.errors import install_command
from asa.files import atomic_path
from asa.tasks import Label, Region, Task

_TIMEOUT_S = 300
_NO_SLICER_CORE = (
    "No segmentation.seg.nrrd was written, because slicer-core is not installed. "
    f"Install it with: {install_command('slicer-core')}"
)


def shown(task: Task) -> tuple[Label, ...] | tuple[Region, ...]:
    """What is shown to a user: the regions of a task with nested regions, otherwise the labels."""
    return task.regions if task.nested else task.labels


class SegmentationWriter:
    """The program that writes segmentation.seg.nrrd, in a separate process.

    It loads libraries for a second before it can write. Started before the segmentation, it does so on a processor
    that would be idle. Used as a context: what is left of the process ends with it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._problem = ""

    def __enter__(self) -> SegmentationWriter:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.getenv("PYTHONPATH"))))
        if importlib.util.find_spec("slicer") is not None:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ASASegmentationLib.segments.segmentation_file"],
                    env={**os.environ, "PYTHONPATH": path},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                )
            except OSError as error:
                self._problem = (error.strerror or str(error)).lower()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):  # a request that it had no time to read
                self._process.__exit__(None, None, None)

    @contextlib.contextmanager
    def writing(self, label_map: Path, task: Task, output: Path) -> Iterator[list[str]]:
        """Write ``output`` (.seg.nrrd) from a label map in a NIfTI file of ours while the block runs.

        Yields:
            A list that holds, after the block, a warning if the file could not be made: the label map holds the same
            result.

        Raises:
            OutputError: the folder cannot be written to.
        """
        warnings: list[str] = []
        if self._process is None and not self._problem:
            warnings.append(_NO_SLICER_CORE)
            yield warnings
            return
        try:
            with atomic_path(output) as temporary:
                self._send(_request(label_map, task, temporary))
                yield warnings
                self._finish()
        except _NotWritten as reason:
            warnings.append(f"No segmentation.seg.nrrd was written: {reason}")

    def _send(self, request: dict[str, object]) -> None:
        """Send the request, and nothing more; a program that has ended already is found out by :meth:`_finish`."""
        if self._process is None or self._process.stdin is None:
            return
        stream, self._process.stdin = self._process.stdin, None
        with contextlib.suppress(OSError), stream:
            stream.write(json.dumps(request))

    def _finish(self) -> None:
        """Wait until the file is written. Raises _NotWritten."""
        process, self._process = self._process, None
        if process is None:
            raise _NotWritten(self._problem)
        with process:
            try:
                _, errors = process.communicate(timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise _NotWritten(f"it took longer than {_TIMEOUT_S} s") from None
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise _NotWritten((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])


def write_segmentation_file(label_map: Path, task: Task, output: Path) -> str | None:
    """Write ``output`` (.seg.nrrd) from a label map in a NIfTI file of ours.

    Returns:
        A warning if the file could not be made, see :meth:`SegmentationWriter.writing`.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with SegmentationWriter() as writer, writer.writing(label_map, task, output) as warnings:
        pass
    return warnings[0] if warnings else None


class _NotWritten(Exception):
    """The writer failed; the text says why."""


def _request(label_map: Path, task: Task, output: Path) -> dict[str, object]:
    return {
        "labels": str(label_map),
        "output": str(output),
        "name": task.title,
        "segments": [
            {
                "id": item.name,
                "name": item.title,
                "colour": item.colour,
                "values": item.values if isinstance(item, Region) else (item.value,),
                "terminology": item.terminology.slicer_entry,
            }
            for item in shown(task)
        ],
    }
