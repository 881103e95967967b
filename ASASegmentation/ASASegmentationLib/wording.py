"""What the panel says about a running job."""

from __future__ import annotations

from slicer.i18n import tr as _

from .engine_job import Progress

_STAGES = {
    "preparing": "Preparing",
    "reading": "Reading the scan",
    "aligning": "Aligning the head",
    "network": "Segmenting",
    "labelling": "Labelling",
    "writing": "Measuring",
}


def progress_text(progress: Progress) -> str:
    """What is being done and how long it will still take."""
    stage = _(_STAGES.get(progress.stage, progress.stage))
    return f"{stage}… {_remaining(progress.remaining_s)}".rstrip()


def _remaining(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return _("less than a minute left")
    return _("about {minutes} min left").format(minutes=round(seconds / 60))
