"""An engine without a network, for tests of what stands on it: grey levels decide the labels, in no time.

In a test: put `modules()` into `sys.modules`. As a program, so that a test can interrupt it:

    python fake_engine.py {cli,job,resident} ARGUMENTS...

(processes that it starts get the stand-ins too), with FAKE_DELAY (seconds spent segmenting), FAKE_FILE_LIMIT (bytes a
file may have) and FAKE_CRASH (part of the name of the image at which the process is killed) in the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from asa.request import SegmentRequest

MODEL = {
    "format": 1,
    "name": "fake",
    "version": "1",
    "task": "tissue",
    "modalities": ["t1"],
    "network": {},
    "scores": {"heads": {"GM": 0.91, "WM": 0.93}},
}


def find_model(name: str | None = None, task: str | None = None) -> SimpleNamespace:
    from asa.model_description import check_description

    return SimpleNamespace(
        path=Path(__file__).parent,
        description=check_description(MODEL, "fake"),
        name=MODEL["name"],
        task=MODEL["task"],
        modalities=("t1",),
        required=("t1",),
        channels=lambda given: ("t1",),
        size=1_000_000,
    )


def segment(request: Any, progress: Callable[[str, float], None] | None = None, head: object = None) -> SimpleNamespace:
    """Four labels by quartile of the positive grey levels."""
    from asa.geometry import Alignment
    from asa.volume import read_volume

    report = progress or (lambda stage, fraction: None)
    print("a library that prints")
    image = read_volume(next(iter(request.images.values())))
    until = time.monotonic() + float(os.environ.get("FAKE_DELAY", "0"))
    report("segmenting", 0.5)
    if os.environ.get("FAKE_CRASH") and os.environ["FAKE_CRASH"] in str(next(iter(request.images.values()))):
        os.kill(os.getpid(), signal.SIGKILL)
    while time.monotonic() < until:
        time.sleep(0.01)
    inside = image.array > 0
    labels = np.zeros(image.array.shape, np.uint8)
    labels[inside] = 1 + np.digitize(image.array[inside], np.quantile(image.array[inside], (0.25, 0.5, 0.75)))
    report("segmenting", 1.0)
    return SimpleNamespace(
        labels=image.with_array(labels),
        image=image,
        posterior=(labels[None] == np.arange(5)[:, None, None, None]).astype(np.float16) if request.posterior else None,
        brain=image.with_array(inside.astype(np.uint8)),
        model=find_model(),
        reference=next(iter(request.images)),
        used=("t1",),
        series={
            "t1": {
                "stripped": False,
                "registration": "anchor",
                "agreement": 1.0,
                "frame_to_scan": np.eye(4).tolist(),
            }
        },
        device="cpu",
        trust=SimpleNamespace(verdict="doubtful", reasons=("A warning of the engine.",)),
        head=head,
        alignment=Alignment(matrix=np.eye(4), method="identity", quality=1.0, warnings=()),
        timings={"network": 0.01},
        warnings=["A warning of the engine."],
    )


def modules() -> dict[str, ModuleType]:
    """Stand-ins for the modules of the engine that need a network; they import no torch."""
    contents: dict[str, dict[str, Any]] = {
        "asa.inference": {"SegmentRequest": SegmentRequest, "segment": segment},
        "asa.devices": {"choose_device": lambda name: "cpu"},
        "asa.models": {
            "DESCRIPTION": "model.json",
            "WEIGHTS": "model.safetensors",
            "find_model": find_model,
            "list_models": lambda: [find_model()],
            "broken_models": list,
            "hidden_models": list,
            "better_models": lambda model: [],
        },
    }
    made = {name: ModuleType(name) for name in contents}
    for name, module in made.items():
        vars(module).update(contents[name])
    return made


if __name__ == "__mp_main__":
    sys.modules.update(modules())

if __name__ == "__main__":
    sys.modules.update(modules())
    if "FAKE_FILE_LIMIT" in os.environ:
        import resource

        limit = int(os.environ["FAKE_FILE_LIMIT"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if sys.argv[1] == "cli":
        from asa.cli import main as cli

        cli(sys.argv[2:])
    elif sys.argv[1] == "resident":
        from asa.jobs.resident import main as resident

        sys.exit(resident())
    else:
        from asa.jobs.segment import main as job

        sys.exit(job(sys.argv[2:]))
