"""Faults at random moments of the engine's programs, and what must hold afterwards.

    python -m Testing.robustness.faults [--number 1000] [--program segment ...] [--seed 0]

Run at the root of the checkout, with asa installed and a C compiler. A library that fails, shortens or interrupts
calls is compiled and preloaded; each trial forks, is disturbed once, is judged, is run again undisturbed, and judged
again. Writes faults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from Testing.benchmarks.tables import markdown, provenance
from Testing.robustness.fault_programs import PROGRAMS, Program, warm

from asa.files import read_json, sha256

SOURCE = Path(__file__).with_name("fault_shim.c")
FAIL, HALF, KILL, SIGNAL, JUMP, FULL = range(1, 7)  # as in the source
HANGS_AFTER_S = 120
# Leaves what a process that was killed had open; the next run removes it.
ABRUPT = ("killed",)

NOTES = """
One fault in each run, at a random call that opens, reads, writes, renames or removes one of the run's files (or at a
random time, for signals). Afterwards: no "Unexpected error", exit code 0 only for a complete result, every file under
its final name complete, inputs unchanged, nothing hidden or temporary left (except by a process that was killed); then
the same command is run again, and must produce the files of an undisturbed run, and nothing else.
The network of `asa segment` is replaced by thresholds, so a run takes a fraction of a second.
"""


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        kind: its name in the table.
        arm: called in the process that runs the program, with the number of its calls in an undisturbed run and the
            seconds that it takes; draws the moment from the generator.
    """

    kind: str
    arm: Callable[[Path, int, float, np.random.Generator], None]


def at_a_call(what: int, number: int = 0) -> Callable[[Path, int, float, np.random.Generator], None]:
    def arm(folder: Path, calls: int, _seconds: float, rng: np.random.Generator) -> None:
        shim().fault_arm(os.fsencode(folder), int(rng.integers(1, calls + 1)), what, number)

    return arm


def at_a_time(number: int) -> Callable[[Path, int, float, np.random.Generator], None]:
    """The signal comes from a process of its own, as that of a user does."""

    def arm(_folder: Path, _calls: int, seconds: float, rng: np.random.Generator) -> None:
        target, moment = os.getpid(), float(rng.uniform(0, seconds))
        if os.fork() == 0:
            time.sleep(moment)
            if os.getppid() == target:
                os.kill(target, number)
            os._exit(0)

    return arm


def file_limit(folder: Path, _calls: int, _seconds: float, rng: np.random.Generator) -> None:
    """No file may grow beyond a number of bytes."""
    limit = int(10 ** rng.uniform(1, 4.5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


FAULTS = (
    Fault("write or read error (EIO)", at_a_call(FAIL, errno.EIO)),
    Fault("disk full (ENOSPC)", at_a_call(FULL, errno.ENOSPC)),
    Fault("over quota (EDQUOT)", at_a_call(FULL, errno.EDQUOT)),
    Fault("read-only (EROFS)", at_a_call(FULL, errno.EROFS)),
    Fault("no permission (EACCES)", at_a_call(FAIL, errno.EACCES)),
    Fault("too many open files (EMFILE)", at_a_call(FAIL, errno.EMFILE)),
    Fault("interrupted call (EINTR)", at_a_call(FAIL, errno.EINTR)),
    Fault("short write or read", at_a_call(HALF)),
    Fault("file size limit", file_limit),
    Fault("killed", at_a_call(KILL)),
    Fault("Ctrl-C at a call", at_a_call(SIGNAL, signal.SIGINT)),
    Fault("SIGTERM at a call", at_a_call(SIGNAL, signal.SIGTERM)),
    Fault("hang-up at a call", at_a_call(SIGNAL, signal.SIGHUP)),
    Fault("Ctrl-C at a time", at_a_time(signal.SIGINT)),
    Fault("clock a year ahead", at_a_call(JUMP, 365 * 86400)),
    Fault("clock a year back", at_a_call(JUMP, -365 * 86400)),
)


def compiler() -> str | None:
    """The C compiler, None where there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """Compile the library.

    Raises:
        CalledProcessError: the compiler cannot.
    """
    library = folder / "fault_shim.so"
    command = [str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def shim() -> Any:
    """The library as it is preloaded into this process.

    Raises:
        AttributeError: it is not.
    """
    library = ctypes.CDLL(None)
    library.fault_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    library.fault_calls.restype = ctypes.c_long
    return library


def run(program: Program, folder: Path, arm: Callable[[], None], say: Path | None = None) -> int:
    """Run a program in a forked process; return its exit code, or minus the signal that ended it, or 999 for a hang.

    Args:
        program: what to run.
        folder: its inputs, results and temporary files.
        arm: called in the process before the program begins.
        say: a file for the number of calls that were counted.
    """
    said, say_it = os.pipe()  # a limit on the size of files does not hold for it
    os.set_blocking(said, False)
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.dup2(say_it, 1)
            os.dup2(say_it, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            arm()
            code = ended(lambda: program.run(folder / "in", folder / "out"))
            if say is not None:
                say.write_text(str(shim().fault_calls()))
        finally:
            os._exit(code)
    os.close(say_it)
    with log_of(folder).open("wb") as log:
        code = waited(pid, said, log)
    os.close(said)
    return code


def waited(pid: int, said: int, log: BinaryIO) -> int:
    """Wait for a process, as :func:`run` returns it, and write to ``log`` what comes through the pipe ``said``."""
    until = time.monotonic() + HANGS_AFTER_S
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):
            while some := os.read(said, 65536):
                log.write(some)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 999
        time.sleep(0.002)


def log_of(folder: Path) -> Path:
    """Where the messages of a run are kept: outside the folder, in which calls are disturbed."""
    return folder.parent / f"log of {folder.name}"


def ended(work: Callable[[], None]) -> int:
    """The exit code of a program, after what runs when a program ends."""
    from asa import interrupts

    code: object = 0
    try:
        try:
            work()
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = 130
        interrupts.finish()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, f"Traceback {error!r}".encode())
        code = 98
    return code if isinstance(code, int) else 1 if code else 0


def problems(program: Program, folder: Path, code: int, abrupt: bool, reference: dict[str, str]) -> list[str]:
    """What does not hold after a run that was disturbed."""
    said = log_of(folder).read_text(errors="replace")
    found = []
    if code == 999:
        found.append("hangs")
    own = said.partition("Exception in thread")[0]  # TensorBoard writes in a thread; training continues
    if "Unexpected error" in said or "Traceback" in own or code in (98, 99):
        found.append(f"unexpected error: {said.strip()[-200:]}")
    out = folder / "out"
    outcome = program.outcome(out)
    if code == 0 and outcome != reference:
        found.append("exit 0 with another result")
    for place in program.results(out):
        outputs = read_json(place / "report.json")["outputs"]
        if any(not (place / n).is_file() or sha256(place / n) != o["sha256"] for n, o in outputs.items()):
            found.append("a report with other files")
    final = {name: digest for name, digest in outcome.items() if not hidden(name)}
    if any(name in reference and digest != reference[name] for name, digest in final.items()) and program.whole:
        found.append("a file that is not whole")
    if not abrupt:
        found += leftovers(folder, outcome)
    return found


def leftovers(folder: Path, outcome: dict[str, str]) -> list[str]:
    """What a run must not leave behind."""
    names = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*")} | set(outcome)
    found = sorted(name for name in names if hidden(name))
    # PyTorch keeps a cache of compiled code next to the temporary files.
    found += [f"tmp/{path.name}" for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor")]
    return [f"left behind: {', '.join(found[:3])}"] if found else []


def hidden(name: str) -> bool:
    """Whether a path has a part that is hidden: a temporary file, a lock."""
    return any(part.startswith(".") for part in Path(name).parts)


class Trials:
    """Trials of one program: its inputs are made once, and how it ends undisturbed is known."""

    def __init__(self, name: str, folder: Path) -> None:
        self.program, self.folder = PROGRAMS[name], folder / name
        self.given = folder / f"inputs of {name}"
        if code := run(
            Program(self.program.inputs, lambda _given, _out: self.program.inputs(self.given)),
            self.fresh(),
            lambda: None,
        ):
            raise SystemExit(f"The inputs of {name} cannot be made ({code}): {log_of(self.folder).read_text()}")
        place, counted = self.fresh(), folder / f"calls of {name}"
        started = time.monotonic()
        code = run(self.program, place, lambda: shim().fault_arm(os.fsencode(place), 0, 0, 0), counted)
        self.seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"{name} fails without a fault ({code}): {log_of(place).read_text()}")
        self.calls, self.reference = int(counted.read_text()), self.program.outcome(place / "out")

    def fresh(self) -> Path:
        """An empty folder with the inputs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("out", "tmp"):
            (self.folder / part).mkdir(parents=True)
        if self.given.exists():
            shutil.copytree(self.given, self.folder / "in")
        return self.folder

    def trial(self, fault: Fault, seed: int) -> list[str]:
        """Disturb one run and repeat it; what does not hold."""
        place, abrupt = self.fresh(), fault.kind in ABRUPT
        rng = np.random.default_rng(seed)
        before = {path: sha256(path) for path in (place / "in").rglob("*") if path.is_file()}
        code = run(self.program, place, lambda: fault.arm(place, self.calls, self.seconds, rng))
        found = problems(self.program, place, code, abrupt, self.reference)
        if any(not path.is_file() or sha256(path) != digest for path, digest in before.items()):
            found.append("inputs changed")
        if code := run(self.program, place, lambda: None):
            found.append(f"the next run fails ({code}): {log_of(place).read_text(errors='replace')[-200:]}")
        elif (outcome := self.program.outcome(place / "out")) != self.reference:
            different = [name for name in {*outcome, *self.reference} if outcome.get(name) != self.reference.get(name)]
            found.append(f"the next run gives another result: {', '.join(sorted(different)[:3])}")
        return found + [f"after the next run, {one}" for one in leftovers(place, {})]


def inject(
    names: list[str], number: int, seed: int, tell: Callable[[str], None]
) -> dict[tuple[str, str], list[list[str]]]:
    """Spread faults over programs and kinds; program and kind -> what did not hold in each trial."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    warm()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        trials = {name: Trials(name, Path(folder)) for name in names}
        for turn in range(number):
            name, fault = names[turn % len(names)], FAULTS[turn // len(names) % len(FAULTS)]
            broken = trials[name].trial(fault, seed + turn)
            found.setdefault((name, fault.kind), []).append(broken)
            if broken:
                tell(f"{name}, {fault.kind}, seed {seed + turn}: {'; '.join(broken)}")
    return found


def write(found: dict[tuple[str, str], list[list[str]]], folder: Path, seconds: float) -> None:
    """Write the table."""
    names, kinds = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    rows = []
    for kind in kinds:
        each = [found.get((name, kind), []) for name in names]
        rows.append([kind, *(f"{sum(map(bool, one))} of {len(one)}" for one in each)])
    total = [trial for trials in found.values() for trial in trials]
    what = Counter(problem.split(":")[0] for trial in total for problem in trial)
    text = [
        "# Injected faults\n",
        NOTES,
        f"\n{sum(map(bool, total))} of {len(total)} faults violated a rule. By program, violations of trials:\n\n",
        markdown(["fault", *names], rows),
        f"\n{markdown(['rule broken', 'times'], [list(one) for one in what.items()])}" if what else "",
        f"\n{seconds / 60:.0f} minutes. Made with {provenance('numpy', 'torch')}.\n",
    ]
    (folder / "faults.md").write_text("".join(text), encoding="utf-8")


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--number", type=int, default=1000, help="faults in all")
    parser.add_argument("--program", action="append", choices=PROGRAMS, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="of the first fault")
    parser.add_argument("--output", type=Path, help="folder for the table; none: it is not written")
    arguments = parser.parse_args()
    if "fault_shim.so" not in os.environ.get("LD_PRELOAD", ""):
        if compiler() is None:
            raise SystemExit("A C compiler is needed: install gcc or clang.")
        with tempfile.TemporaryDirectory(prefix="shim-") as folder:
            preloaded = {**os.environ, "LD_PRELOAD": str(build(Path(folder)))}
            command = [sys.executable, "-m", "Testing.robustness.faults", *sys.argv[1:]]
            return subprocess.run(command, env=preloaded, check=False).returncode
    started = time.monotonic()
    found = inject(
        arguments.program or list(PROGRAMS), arguments.number, arguments.seed, lambda one: print(one, flush=True)
    )
    broken = sum(bool(trial) for trials in found.values() for trial in trials)
    print(f"{sum(map(len, found.values()))} faults, {broken} broke a rule.")
    if arguments.output:
        write(found, arguments.output, time.monotonic() - started)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
