"""What the panel says about a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from asa.events import Progress
from asa.tasks import TASKS
from ASATrainingLib.runs.run_folder import RunFolder, Status


def run_title(run: RunFolder) -> str:
    """Name of a run in a list."""
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
        Status.DIED: _("died"),
    }
    return f"{run.name}{kind} – {words[run.status]}"


def status_text(run: RunFolder) -> str:
    """One or two sentences: how a run is, and how far."""
    if run.problem:
        return run.problem
    state = run.state
    sentences = {
        Status.NEW: _("Not started."),
        Status.QUEUED: _("Waits for its turn on {device}."),
        Status.STARTING: _("Starts."),
        Status.RUNNING: _("Runs."),
        Status.FINISHED: _("Finished."),
        Status.STOPPED: _("Stopped; it can be resumed."),
        Status.FAILED: _("Failed; the log says why."),
        Status.DIED: _("Its process ended without a word; it can be resumed."),
    }
    said = sentences[run.status].format(device=state.device or _("the device"))
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


def looking_text(progress: Progress) -> str:
    """What an inspection does."""
    stages = {
        "preparing": _("Preparing"),
        "reading": _("Reading the model"),
        "aligning": _("Aligning the head and finding the brain"),
        "network": _("Hiding and reconstructing"),
    }
    return f"{stages.get(progress.stage, progress.stage)}…"


def size(number: float) -> str:
    """Bytes, as people read them."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while number >= 1000 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.0f} {units[power]}" if number >= 10 or power == 0 else f"{number:.1f} {units[power]}"


def device_text(device: Mapping[str, Any]) -> str:
    """A device in a list: what it is, what is free, who has it."""
    free = _("{free} of {total} free").format(free=size(device["free"]), total=size(device["total"]))
    said = f"{device['title']} – {free}" if device["total"] else str(device["title"])
    runs = device["runs"]
    if not runs:
        return said
    return f"{said}, " + _("{count} run(s) before you").format(count=len(runs))


def estimate_text(found: Mapping[str, Any]) -> str:
    """What a run will need, in one line, and the warnings below it."""
    said = _("About {memory} of memory, {epoch} an epoch, {whole} in all ({steps} steps), {disk} of disk.").format(
        memory=size(found["memory"]),
        epoch=span(found["epoch_seconds"]),
        whole=span(found["seconds"]),
        steps=found["steps"],
        disk=size(found["disk"]),
    )
    return "\n".join([said, *found["warnings"]])


def span(seconds: float) -> str:
    """A time in the unit that suits it."""
    for limit, divisor, unit in ((100, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.2g} {unit}" if seconds / divisor < 10 else f"{seconds / divisor:.0f} {unit}"
    return _("{days} days").format(days=round(seconds / 86400))
