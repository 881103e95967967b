"""Layout of a run folder: file names, format and phases, shared by the engine and the panel.

run.yaml        what the run can do (the command that resumes it, whether it segments, what model can be made of it),
                resolved settings, versions, seeds, data fingerprint
events.jsonl    one JSON object per line, append-only
checkpoints/    last.safetensors, best.safetensors, and step_<step>.safetensors of the steps that are kept
previews/       images
log.txt         log, including errors
state.json      pid, host, heartbeat, device, phase (queued, starting, running, finished, early, stopped, failed)
stop            created by a user or panel to make the run write a checkpoint and stop
settings.json, launch.json, console.txt
                settings, command and output of a run that the panel started
heads.npy, fine/
                label maps from which heads are synthesised
tensorboard/    curves for TensorBoard, if it is installed
jobs/           logs of SLURM jobs

Standard library only: the panel imports it.
"""

from __future__ import annotations

FORMAT = 1  # of run.yaml
DESCRIPTION, STATE, EVENTS, LOG, CONSOLE = "run.yaml", "state.json", "events.jsonl", "log.txt", "console.txt"
CHECKPOINTS, PREVIEWS, STOP = "checkpoints", "previews", "stop"
SETTINGS, LAUNCH, JOBS = "settings.json", "launch.json", "jobs"
HEADS, FINE_HEADS, TENSORBOARD = "heads.npy", "fine", "tensorboard"
# What a folder may hold without run.yaml: a run that was just created, or that ended before its first step.
EARLY = frozenset(
    (STATE, EVENTS, LOG, CONSOLE, CHECKPOINTS, PREVIEWS, STOP, SETTINGS, LAUNCH, JOBS, HEADS, FINE_HEADS, TENSORBOARD)
)
CHECKPOINT_SUFFIX = ".safetensors"
KEPT_PREFIX = "step_"
ENDED = ("finished", "early", "stopped", "failed")  # final phases


def kept_name(step: int) -> str:
    """Return the name, without suffix, of the checkpoint that is kept of a step."""
    return f"{KEPT_PREFIX}{step:06d}"
