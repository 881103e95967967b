"""List checkpoints and models for inspection from file headers, without reading weights."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from asa.models import DESCRIPTION, list_models
from asa.runs.layout import KEPT_PREFIX
from ASATrainingLib.runs.run_folder import RunFolder

_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file or model folder; `step` is the number of training steps, 0 if unknown."""

    path: Path
    title: str
    step: int = 0

    @property
    def stamp(self) -> tuple[str, float]:
        """Path and modification time, which change when the file is rewritten."""
        try:
            return str(self.path), self.path.stat().st_mtime
        except OSError:
            return str(self.path), 0.0


def record(path: Path) -> dict[str, Any]:
    """Return the record of a checkpoint.

    Raises:
        ValueError: it is damaged or not a checkpoint.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError
            header = json.loads(stream.read(length))
        found = json.loads(header["__metadata__"]["record"])
        if not isinstance(found, dict):
            raise ValueError
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        raise ValueError(_("{path} is damaged or is not an ASA checkpoint.").format(path=path)) from None
    return found


@functools.lru_cache(maxsize=1024)
def _step(path: Path, _written: float) -> int | None:
    """Return the step of a checkpoint, None if unreadable. Cached, because active runs are listed repeatedly."""
    try:
        return int(record(path).get("step", 0))
    except (ValueError, TypeError):
        return None


def checkpoints(run: RunFolder) -> Sequence[Checkpoint]:
    """Return the readable checkpoints of a run by step; "best" precedes "last" at the same step."""
    found = []
    for path in run.checkpoints():
        if (step := _step(path, Checkpoint(path, "").stamp[1])) is None:
            continue
        kept = path.stem.startswith(KEPT_PREFIX)
        title = _("Step {step}") if kept else _("Step {step} ({name})")
        found.append(Checkpoint(path, title.format(step=step, name=path.stem), step))
    return sorted(found, key=lambda one: (one.step, one.path.name))


def installed() -> list[Checkpoint]:
    """Return the installed models with a decoder, which can reconstruct."""
    models = [model for model in list_models() if "autoencoder" in model.description.network]
    return [Checkpoint(model.path, _("Model {name}").format(name=model.name)) for model in models]


def opened(path: Path) -> Checkpoint:
    """Return a checkpoint or exported model at a path.

    Raises:
        ValueError: it is neither.
    """
    if (path / DESCRIPTION).is_file():
        return Checkpoint(path, path.name)
    if path.is_file():
        step = int(record(path).get("step", 0))
        title = _("{run}: step {step}").format(run=path.parent.parent.name, step=step)
        return Checkpoint(path, title, step)
    raise ValueError(_("{path} is neither a checkpoint nor a model folder.").format(path=path))
