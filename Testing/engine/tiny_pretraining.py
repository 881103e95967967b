"""A pre-training run of seconds, in this process or (`python tiny_pretraining.py`) in one that may be killed.

The program's argument is JSON: run folder -> settings, done one after another. The environment variable DIE says when
it kills itself with SIGKILL: "after 5" (right after the event of step 5) or "writing 2" (within its second checkpoint);
"after 5, after 7" says it for what torchrun starts anew, too. A process that hangs says where, and ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from asa.data.scan_store import ScanRecord, quantise, write_index, write_scan

EDGE = 16
HANGS_AFTER_S = 1200


def make_store(folder: Path, scans: int = 5, subjects: int | None = None, edge: int = EDGE) -> Path:
    """A store of blobs; scan i belongs to subject i modulo ``subjects``."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij"))
    records = []
    for number in range(scans):
        brain = (grid**2).sum(0) < 0.7
        image = (1 + np.sin(grid * rng.uniform(2, 6, (3, 1, 1, 1))).sum(0) + 3).astype(np.float32)
        record = ScanRecord(f"scan-{number}", f"sub-{number % (subjects or scans)}", "", "", 1.0, 1.0, 1.0, 0.0, 0.0)
        write_scan(folder, record, quantise(image, brain), {})
        records.append(record)
    write_index(folder, (edge, edge, edge), (0, 0, 0), records, [])
    return folder


def settings(store: Path, **changes: Any) -> dict[str, Any]:
    """Ten steps of a network of two blocks on 4 x 4 x 4 patches."""
    values = {
        "store": str(store),
        "preset": "starter",
        "encoder": {"frame": [4, 4, 4], "patch": 4, "dim": 16, "depth": 2, "heads": 2, "window": 8},
        "decoder": {"dim": 16, "depth": 2, "heads": 2},
        "held_out": 0.2,
        "epochs": 10,
        "warmup_epochs": 2,
        "base_lr": 0.1,
        "batch": 4,
        "micro_batch": 2,
        "preview_every": 0,
        "precision": "fp32",
        "schedule": {"log_every": 1, "checkpoint_every": 2, "validate_every": 5},
    }
    return {**values, **changes}


def run(values: dict[str, Any], folder: Path) -> str:
    """Start or continue a run in this process."""
    from asa.training.parallel.distributed import join, leave
    from asa.training.pretraining.pretrain import pretrain
    from asa.training.pretraining.settings import PretrainSettings

    try:
        return pretrain(PretrainSettings.model_validate(values), folder, join("cpu"))
    finally:
        leave()


def losses(folder: Path) -> dict[int, float]:
    """Loss of each step as events.jsonl has it last, and of validations (negative step numbers)."""
    from asa.runs.folder import read_events

    found = {}
    for event in read_events(folder / "events.jsonl"):
        if event["event"] in ("step", "validation"):
            found[event["step"] * (1 if event["event"] == "step" else -1)] = event["loss"]
    return found


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange_death(when: str, number: int) -> None:
    """Make this process kill itself at a chosen moment."""
    from asa.runs.folder import Run
    from asa.training import checkpoint

    if when == "after":
        tell = Run.event

        def event(self: Run, kind: str, **values: Any) -> None:
            tell(self, kind, **values)
            if kind == "step" and values["step"] == number:
                die()

        Run.event = event
    else:
        written = 0

        def half_a_file(_tensors: Any, path: Path, **_: Any) -> None:
            nonlocal written
            written += 1
            if written == number:
                path.write_bytes(b"half a checkpoint")
                die()
            save(_tensors, path, **_)

        save, checkpoint.save_file = checkpoint.save_file, half_a_file


def main() -> None:
    """What the program does."""
    from asa.training.parallel.distributed import end_process, join, leave
    from asa.training.pretraining.pretrain import pretrain
    from asa.training.pretraining.settings import PretrainSettings

    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
    moments = [moment.split() for moment in os.environ.get("DIE", "").split(",") if moment]
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if attempt < len(moments):
        arrange_death(moments[attempt][0], int(moments[attempt][1]))
    world = join("cpu")
    for folder, values in json.loads(sys.argv[1]).items():
        print(pretrain(PretrainSettings.model_validate(values), Path(folder), world))
    leave()
    if world.size > 1:
        end_process(0)


if __name__ == "__main__":
    main()
