"""Messages of the panel about progress and models."""

from __future__ import annotations

import math

from slicer.i18n import tr as _

from asa.models import ModelFolder, better_models, hidden_models, list_models
from ASASegmentationLib.durations import Estimate


def progress_text(estimate: Estimate) -> str:
    """Return the current stage, the elapsed and the remaining time."""
    stages = {
        "preparing": _("Preparing"),
        "reading": _("Reading the scan"),
        "aligning": _("Aligning the head"),
        "network": _("Segmenting"),
        "labelling": _("Labelling"),
        "writing": _("Measuring"),
        "surfaces": _("Creating surfaces"),
        "adding": _("Adding the result to the scene"),
    }
    times = [_("{time} elapsed").format(time=duration(estimate.elapsed_s))]
    if estimate.remaining_s is not None:
        times.append(_("about {time} left").format(time=duration(estimate.remaining_s)))
    return f"{stages[estimate.stage]}… {', '.join(times)}"


def duration(seconds: float) -> str:
    """Return a duration in seconds, or in minutes from one and a half minutes on."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=math.ceil(seconds))
    return _("{minutes} min").format(minutes=round(seconds / 60))


def model_notes(model: ModelFolder) -> list[str]:
    """Return what the user should know of other models for the task, as sentences."""
    text = _("{other} reports a higher Dice than {model}, perhaps on other cases. To use it, choose it under Model.")
    default = list_models(model.task)[:1] == [model]
    notes = [text.format(other=other.name, model=model.name) for other in better_models(model) if default]
    text = _("The model in {folder} is not listed, because another model has the same name, {model}.")
    hidden = [one for one in hidden_models() if one.model.task == model.task]
    return notes + [text.format(folder=one.model.path, model=one.by.name) for one in hidden]
