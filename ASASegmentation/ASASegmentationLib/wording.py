"""Progress messages of the panel."""

from __future__ import annotations

from slicer.i18n import tr as _

from asa.events import Progress


def progress_text(progress: Progress) -> str:
    """Return the current stage and the remaining time."""
    stages = {
        "preparing": _("Preparing"),
        "reading": _("Reading the scan"),
        "aligning": _("Aligning the head"),
        "network": _("Segmenting"),
        "labelling": _("Labelling"),
        "writing": _("Measuring"),
        "surfaces": _("Creating surfaces"),
    }
    return f"{stages.get(progress.stage, progress.stage)}… {_remaining(progress.remaining_s)}".rstrip()


def _remaining(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return _("less than a minute left")
    return _("about {minutes} min left").format(minutes=round(seconds / 60))
