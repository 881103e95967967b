"""Capabilities of a run according to its run.yaml: how it is resumed, and whether it can become a model.

The standard library only: the panel in Slicer asks this too, also where no YAML reader is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Runs of older versions, whose run.yaml names nothing but their kind: the command and whether they segment.
_OLDER: dict[str, tuple[str, bool]] = {
    "pretraining": ("pretrain", False),
    "finetuning": ("finetune", True),
    "tissue": ("train", True),
    "tumour": ("train", True),
    "wmh": ("train", True),
}


@dataclass(frozen=True)
class Abilities:
    """What can be done with a run.

    Attributes:
        command: of ``asa``, which resumes it; "" where it is not known.
        segments: whether its network segments, so that a model can be published of it.
    """

    command: str = ""
    segments: bool = False


def abilities(record: Mapping[str, Any]) -> Abilities:
    """What a run can do.

    Args:
        record: content of run.yaml, or its plain lines alone.
    """
    command, segments = _OLDER.get(str(record.get("kind")), ("", False))
    return Abilities(str(record.get("command", command)), bool(record.get("segments", segments)))
