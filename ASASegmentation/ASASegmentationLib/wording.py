"""Messages of the panel about progress and models."""

from __future__ import annotations

from slicer.i18n import tr as _

from asa.events import Progress
from asa.models import ModelFolder, better_models, hidden_models, list_models


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


def model_notes(model: ModelFolder) -> list[str]:
    """Return what the user should know of other models for the task, as sentences."""
    text = _("{other} reports a higher Dice than {model}, perhaps on other cases. To use it, choose it under Model.")
    default = list_models(model.task)[:1] == [model]
    notes = [text.format(other=other.name, model=model.name) for other in better_models(model) if default]
    text = _("The model in {folder} is not listed, because another one has its name, {model}.")
    hidden = [one for one in hidden_models() if one.model.task == model.task]
    return notes + [text.format(folder=one.model.path, model=one.by.name) for one in hidden]
