"""segmentation.seg.nrrd, written by `ASASegmentationLib` in a separate process: the engine never imports `slicer`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from asa.errors import install_command
from asa.files import atomic_path
from asa.tasks import Label, Region, Task
from asa.temporary import temporary_folder

_TIMEOUT_S = 300
_NO_SLICER_CORE = (
    "No segmentation.seg.nrrd was written, because slicer-core is not installed. "
    f"Install it with: {install_command('slicer-core')}"
)


def shown(task: Task) -> tuple[Label, ...] | tuple[Region, ...]:
    """What is shown to a user: the regions of a task that nests them, else the labels."""
    return task.regions if task.nested else task.labels


def write_segmentation_file(label_map: Path, task: Task, output: Path) -> str | None:
    """Write `output` (.seg.nrrd) from a label map in a NIfTI file of ours.

    Returns a warning instead of raising when the file could not be made: the label map holds the same result.
    Raises OutputError when the folder cannot be written to.
    """
    if importlib.util.find_spec("slicer") is None:
        return _NO_SLICER_CORE
    try:
        with atomic_path(output) as temporary:
            _run(_request(label_map, task, temporary))
    except _NotWritten as reason:
        return f"No segmentation.seg.nrrd was written: {reason}"
    return None


class _NotWritten(Exception):
    """The writer failed; the text says why."""


def _run(request: dict[str, object]) -> None:
    """Run the writer on one request. Raises _NotWritten."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.getenv("PYTHONPATH"))))
    with temporary_folder("segments") as folder:
        request_file = folder / "request.json"
        request_file.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "ASASegmentationLib.segments.segmentation_file", str(request_file)]
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _NotWritten(f"it took longer than {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise _NotWritten((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])


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
