"""Where the time and the memory of a whole `asa segment` go.

    python -m Testing.benchmarks.speed.shares [--case CASE ...] [--rounds N] [--threads N] [--model FOLDER]

Each case runs in processes of its own, round after round. The table gives for each step the median of its wall time,
of the processor time of all threads and child processes meanwhile, and the largest resident memory of the process
while it lasted. Steps are exclusive: what one step calls of another counts for that one alone. Steps of helping
threads are marked; their wall time runs beside that of the main thread, to whose step their processor time counts.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from Testing.benchmarks.heads import cube_of_256, data_root
from Testing.benchmarks.speed.measure import OURS, run
from Testing.benchmarks.tables import Cell, markdown

# Step -> functions of the engine that do it: module, and name within it.
STEPS: dict[str, tuple[str, ...]] = {
    "read": ("inference.head:read_scans",),
    "checksums": ("files:sha256",),
    "load PyTorch and the network": ("inference.segment:_load",),
    "orientation": ("geometry.orientation:find_turn",),
    "registration": ("geometry.register:align_to_frame",),
    "registration of further series": ("geometry.rigid:register_rigid", "geometry.rigid:agreement"),
    "checks": (
        "inference.quality:input_reasons",
        "inference.quality:refuse_no_brain",
        "inference.quality:confidence_reasons",
        "inference.quality:exchanged_reasons",
        "inference.plausibility:hole_findings",
        "inference.plausibility:anatomy_reasons",
        "inference.plausibility:Anatomy.of",
        "inference.plausibility:brain_reasons",
        "inference.confidence:region_reasons",
    ),
    "brain mask": ("inference.segment:find_brain",),
    "normalisation": ("inference.segment:input_channels",),
    "N4": ("preprocessing.normalise:correct_bias",),
    "network": ("inference.subsets:average_over_subsets",),
    "rules": ("inference.segment:postprocess",),
    "posterior to the grid": ("inference.segment:label", "inference.placement:brain_on"),
    "volumes": ("report.volumes:measure",),
    "picture": ("report.overlay:write_overlay",),
    "label map": ("volume.writing:write_volume",),
    "seg.nrrd, its process": (
        "report.segmentation:SegmentationWriter.__enter__",
        "report.segmentation:SegmentationWriter._finish",
    ),
    "fsync": ("files:_flush_to_disk",),
}
IMPORTS, REST, BESIDE = "start and imports", "all else", " (beside)"

CASES: dict[str, tuple[str, ...]] = {
    "stripped 1 mm head": ("malf/1003/1003_SS.nii.gz",),
    "head of 256×256×256": ("head.nii.gz",),  # made from a real head
    "BraTS case of four modalities": (
        "--task",
        "tumour",
        *(
            part
            for option, name in (("t1", "t1"), ("t1gd", "t1ce"), ("t2", "t2"), ("flair", "flair"))
            for part in (f"--{option}", f"brats/BraTS2021_01478/BraTS2021_01478_{name}.nii.gz")
        ),
    ),
}


class Clock:
    """Times exclusive steps, per thread; processor time and memory are those of the whole process.

    Attributes:
        steps: name -> [wall seconds, processor seconds, largest resident memory in GiB].
    """

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}
        self._main = threading.get_ident()
        self._stacks = threading.local()
        self._lock = threading.Lock()

    def switch(self, name: str, started: tuple[float, float]) -> tuple[float, float]:
        """Book what passed since ``started`` to the step ``name``; return the time now."""
        now = (time.perf_counter(), processor_seconds())
        beside = threading.get_ident() != self._main
        with self._lock:
            entry = self.steps.setdefault(name + (BESIDE if beside else ""), [0.0, 0.0, 0.0])
            entry[0] += now[0] - started[0]
            if not beside:
                entry[1] += now[1] - started[1]
                entry[2] = max(entry[2], peak_gib())
        return now

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed as the step ``name``."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack = self.stack()
            stack[-1][1] = self.switch(stack[-1][0], stack[-1][1])
            stack.append([name, (time.perf_counter(), processor_seconds())])
            try:
                return function(*args, **kwargs)
            finally:
                mine = stack.pop()
                stack[-1][1] = self.switch(mine[0], mine[1])

        return timed

    def stack(self) -> list[list[Any]]:
        """Steps that this thread is in, the innermost last."""
        if not hasattr(self._stacks, "steps"):
            self._stacks.steps = [[REST, (time.perf_counter(), processor_seconds())]]
        steps: list[list[Any]] = self._stacks.steps
        return steps


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_gib() -> float:
    """Largest resident memory since the last call, in GiB; since the start where Linux cannot forget it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


def instrument(clock: Clock) -> None:
    """Replace the functions of :data:`STEPS` by timed ones, wherever the engine has imported them."""
    for name, functions in STEPS.items():
        for place in functions:
            module_name, _, path = place.partition(":")
            holder: Any = importlib.import_module(f"asa.{module_name}")
            *outer, last = path.split(".")
            for part in outer:
                holder = getattr(holder, part)
            plain = getattr(holder, last)
            timed = clock.wrap(name, plain)
            if outer:
                bound = isinstance(vars(holder)[last], classmethod)
                setattr(holder, last, staticmethod(timed) if bound else timed)
                continue
            for module in [value for key, value in sys.modules.items() if key.partition(".")[0] == "asa"]:
                for attribute, value in list(vars(module).items()):
                    if value is plain:
                        setattr(module, attribute, timed)


def child(started: float, arguments: list[str]) -> None:
    """Run `asa` with arguments in this process and print the steps as JSON on the last line of standard error."""
    clock = Clock()
    from asa.program import use_one_blas_thread

    use_one_blas_thread()
    importlib.import_module("asa.inference")
    importlib.import_module("asa.report")
    importlib.import_module("asa.jobs.segment")
    cli = importlib.import_module("asa.cli")
    instrument(clock)
    clock.steps[IMPORTS] = [time.time() - started, processor_seconds(), peak_gib()]
    root = clock.stack()
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    clock.switch(root[-1][0], root[-1][1])
    print(json.dumps(clock.steps), file=sys.stderr)
    sys.exit(code)


def measure(arguments: list[str], threads: int) -> dict[str, list[float]]:
    """Steps of one run of `asa segment`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "Testing.benchmarks.speed.shares", "--child", str(time.time()), "segment"]
        command += [*arguments, "-o", f"{folder}/result", "--device", "cpu", "--threads", str(threads)]
        with (Path(folder) / "steps").open("w+", encoding="utf-8") as stream:
            run(command, threads, {**OURS, "PYTHONPATH": str(Path.cwd())}, errors=stream)
            stream.seek(0)
            steps: dict[str, list[float]] = json.loads(stream.read().splitlines()[-1])
    return steps


def table(rounds: list[dict[str, list[float]]]) -> str:
    """Medians of the steps of several rounds, as Markdown."""
    names = dict.fromkeys([IMPORTS, *STEPS, *(name for steps in rounds for name in steps)])
    rows: list[list[Cell]] = []
    wall = statistics.median(sum(v[0] for k, v in steps.items() if not k.endswith(BESIDE)) for steps in rounds)
    for name in names:
        values = [steps[name] for steps in rounds if name in steps]
        if values:
            seconds, processor = (statistics.median(value[n] for value in values) for n in (0, 1))
            rows.append([name, seconds, f"{seconds / wall:.0%}", processor, max(value[2] for value in values)])
    processor = statistics.median(sum(value[1] for value in steps.values()) for steps in rounds)
    peak = max(value[2] for steps in rounds for value in steps.values())
    rows.append(["**whole process**", wall, "100%", processor, peak])
    header = ["step", "seconds", "share", "processor seconds", "peak memory (GiB)"]
    return markdown(header, rows, digits=2)


def measured_tables(cases: Iterable[str], *, threads: int, rounds: int, model: str | None = None) -> dict[str, str]:
    """Run cases in turns; case -> its table as Markdown."""
    steps: dict[str, list[dict[str, list[float]]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        cube_of_256(Path(folder) / "head.nii.gz")
        for _ in range(rounds):
            for case, measured in steps.items():
                paths = [data_root() / part if "/" in part else Path(folder) / part for part in CASES[case]]
                words = zip(CASES[case], paths, strict=True)
                arguments = [str(path) if part.endswith(".gz") else part for part, path in words]
                measured.append(measure([*arguments, *(["--model", model] if model else [])], threads))
    return {case: table(measured) for case, measured in steps.items()}


def main() -> None:
    """Command line; see the module's docstring."""
    if sys.argv[1:2] == ["--child"]:
        child(float(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.speed.shares",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", action="append", choices=CASES, help="these cases alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", help="model folder or name; default: the installed one of the task")
    options = parser.parse_args()
    tables = measured_tables(options.case or CASES, threads=options.threads, rounds=options.rounds, model=options.model)
    print("\n".join(f"## {case}\n\n{text}" for case, text in tables.items()))


if __name__ == "__main__":
    main()
