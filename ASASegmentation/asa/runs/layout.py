"""Layout of a run folder: file names, format and phases, for the engine and the panel.

run.yaml        what the run can do (the command that resumes it, whether it segments, what model can be made of it),
                resolved settings, versions, seeds, data fingerprint
events.jsonl    one JSON object a line, append-only
checkpoints/    last.safetensors, best.safetensors, and where they are kept step_<step>.safetensors
previews/       pictures
log.txt         log, including errors
state.json      pid, host, heartbeat, device, phase (queued, starting, running, finished, early, stopped, failed)
stop            created by a user or panel to make the run write a checkpoint and stop
console.txt     what its program said, where the panel started it

Standard library only: the panel imports it.
"""

from __future__ import annotations

FORMAT = 1  # of run.yaml
DESCRIPTION, STATE, EVENTS, LOG, CONSOLE = "run.yaml", "state.json", "events.jsonl", "log.txt", "console.txt"
CHECKPOINTS, PREVIEWS, STOP = "checkpoints", "previews", "stop"
CHECKPOINT_SUFFIX = ".safetensors"
KEPT_PREFIX = "step_"
ENDED = ("finished", "early", "stopped", "failed")  # phases after which nothing more is done


def kept_name(step: int) -> str:
    """Name of the checkpoint that is kept of a step."""
    return f"{KEPT_PREFIX}{step:06d}"
