"""What the panel says about a run."""

from __future__ import annotations

import time

from slicer.i18n import tr as _

from ASASegmentationLib.engine_job import Progress

from .run_folder import RunFolder, Status

_KINDS = {"pretraining": "pre-training", "finetuning": "fine-tuning", "tissue": "tissue model"}
_STATUS = {
    Status.NEW: "Not started.",
    Status.QUEUED: "Waits for its turn on {device}.",
    Status.STARTING: "Starts.",
    Status.RUNNING: "Runs.",
    Status.FINISHED: "Finished.",
    Status.STOPPED: "Stopped; it can be resumed.",
    Status.FAILED: "Failed; the log says why.",
    Status.DIED: "Its process ended without a word; it can be resumed.",
}


def run_title(run: RunFolder) -> str:
    """Name of a run in a list."""
    kind = f", {_(_KINDS.get(run.kind, run.kind))}" if run.kind else ""
    return f"{run.name}{kind} – {_(run.status.value)}"


def status_text(run: RunFolder) -> str:
    """One or two sentences: how a run is, and how far."""
    if run.problem:
        return run.problem
    state = run.state
    said = _(_STATUS[run.status]).format(device=state.device or _("the device"))
    if state.step and state.steps:
        said += " " + _("Step {step} of {steps}.").format(step=state.step, steps=state.steps)
    elif state.step:
        said += " " + _("Step {step}.").format(step=state.step)
    if run.status.alive and not state.here:
        told = time.strftime("%H:%M", time.localtime(state.heartbeat))
        said += " " + _("On {host}, last heard of at {time}.").format(host=state.host, time=told)
    return said


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 60:
        return _("Less than a minute")
    if seconds < 5400:
        return _("About {minutes} min").format(minutes=round(seconds / 60))
    if seconds < 172800:
        return _("About {hours} h").format(hours=round(seconds / 3600))
    return _("About {days} days").format(days=round(seconds / 86400))


_LOOKING = {
    "preparing": "Preparing",
    "reading": "Reading the model",
    "aligning": "Aligning the head and finding the brain",
    "network": "Hiding and reconstructing",
}


def looking_text(progress: Progress) -> str:
    """What an inspection does."""
    return f"{_(_LOOKING.get(progress.stage, progress.stage))}…"
