"""Texts of the panel about runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from asa.events import Progress
from asa.tasks import TASKS
from ASATrainingLib.runs.run_folder import RunFolder, Status


def run_title(run: RunFolder) -> str:
    """Return the title of a run in a list."""
    kinds = {"pretraining": _("pre-training"), "finetuning": _("fine-tuning"), "tissue": _("tissue model")}
    kinds |= {name: _(task.title) for name, task in TASKS.items() if name not in kinds}
    kind = f", {kinds.get(run.kind, run.kind)}" if run.kind else ""
    words = {
        Status.NEW: _("not started"),
        Status.QUEUED: _("queued"),
        Status.STARTING: _("starting"),
        Status.RUNNING: _("running"),
        Status.FINISHED: _("finished"),
        Status.STOPPED: _("stopped"),
        Status.FAILED: _("failed"),
        Status.DIED: _("crashed"),
    }
    return f"{run.name}{kind} – {words[run.status]}"


def status_text(run: RunFolder) -> str:
    """Return the status and progress of a run in one or two sentences."""
    if run.problem:
        return run.problem
    state = run.state
    sentences = {
        Status.NEW: _("Not started."),
        Status.QUEUED: _("Queued for {device}."),
        Status.STARTING: _("Starting…"),
        Status.RUNNING: _("Running."),
        Status.FINISHED: _("Finished."),
        Status.STOPPED: _("Stopped. The run can be resumed."),
        Status.FAILED: _("Failed. See the log for details."),
        Status.DIED: _("The process ended unexpectedly. The run can be resumed."),
    }
    text = sentences[run.status].format(device=state.device or _("the device"))
    if state.step and state.steps:
        text += " " + _("Step {step} of {steps}.").format(step=state.step, steps=state.steps)
    elif state.step:
        text += " " + _("Step {step}.").format(step=state.step)
    if run.status.alive and not state.here:
        updated = time.strftime("%H:%M", time.localtime(state.heartbeat))
        text += " " + _("Running on {host}; last update at {time}.").format(host=state.host, time=updated)
    return text


def duration(seconds: float) -> str:
    """Return a rounded duration in words."""
    if seconds < 60:
        return _("Less than a minute")
    if seconds < 5400:
        return _("About {minutes} min").format(minutes=round(seconds / 60))
    if seconds < 172800:
        return _("About {hours} h").format(hours=round(seconds / 3600))
    return _("About {days} days").format(days=round(seconds / 86400))


def inspection_text(progress: Progress) -> str:
    """Return the current stage of an inspection."""
    stages = {
        "preparing": _("Preparing"),
        "reading": _("Reading the model"),
        "aligning": _("Aligning and extracting the brain"),
        "network": _("Reconstructing hidden patches"),
    }
    return f"{stages.get(progress.stage, progress.stage)}…"


def size(number: float) -> str:
    """Return a number of bytes in a readable unit."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while number >= 1000 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.0f} {units[power]}" if number >= 10 or power == 0 else f"{number:.1f} {units[power]}"


def device_text(device: Mapping[str, Any]) -> str:
    """Return the title, free memory and queued runs of a device."""
    free = _("{free} of {total} free").format(free=size(device["free"]), total=size(device["total"]))
    text = f"{device['title']} – {free}" if device["total"] else str(device["title"])
    runs = device["runs"]
    if not runs:
        return text
    return f"{text}, " + _("{count} run(s) queued").format(count=len(runs))


def estimate_text(found: Mapping[str, Any]) -> str:
    """Return the estimated requirements of a run in one line, followed by warnings."""
    text = _(
        "About {memory} of memory, {epoch} per epoch, {whole} in total ({steps} steps), {disk} of disk space."
    ).format(
        memory=size(found["memory"]),
        epoch=span(found["epoch_seconds"]),
        whole=span(found["seconds"]),
        steps=found["steps"],
        disk=size(found["disk"]),
    )
    return "\n".join([text, *found["warnings"]])


def span(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    for limit, divisor, unit in ((100, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.2g} {unit}" if seconds / divisor < 10 else f"{seconds / divisor:.0f} {unit}"
    return _("{days} days").format(days=round(seconds / 86400))
