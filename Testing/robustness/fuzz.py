"""Damaged files for everything that ASA reads: understood, or refused in one sentence; within a time and a memory.

    python -m Testing.robustness.fuzz [--number 1000000] [--reader nifti ...] [--seed 0]

Run at the root of the checkout, with asa installed. Where the package atheris is installed, its coverage of the readers
chooses the inputs; otherwise, or with --random, mutations of good files are drawn at random. An input that is neither
understood nor refused is kept in --keep. Writes fuzz.md with --output.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from Testing.benchmarks.tables import markdown, provenance
from Testing.engine.test_damaged_files import READERS as JSON_READERS

from asa.errors import AsaError

SLOW_S, MEMORY_BYTES = 20, 3 << 30
SAVED_EVERY = 100
SHAPE, AFFINE = (16, 18, 20), np.diag([10.0, 10.0, 10.0, 1.0])
NUMBERS = (b"-1", b"0", b"1e999", b"NaN", b"9" * 40, b"null", b"true", b'""', b"[]", b"{}", b"..", b"/etc/passwd")
BYTES = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\x80\x7f", b"\0\0\xc0\x7f")
# What no file may make a reader do.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class")

NOTES = f"""
Good files of each kind, damaged: bits, cut ends, repeated parts, extreme numbers, other types, splices. Allowed is a
value or an `AsaError`. Anything else counts as a crash: another exception, more than {SLOW_S} s, more than
{MEMORY_BYTES >> 30} GB, a file opened for writing outside the folder, a process or a connection that is started.
"""


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file: the name that the file has, good contents, and the function."""

    name: str
    good: tuple[bytes, ...]
    read: Callable[[Path], object]
    packed: bool = False  # mutated before it is compressed


def nifti() -> tuple[bytes, ...]:
    """A few NIfTI files: integers with a slope, floats, a second version, four dimensions."""
    rng = np.random.default_rng(0)
    data = rng.normal(500, 100, SHAPE)
    made = [
        nib.Nifti1Image(data.astype(np.int16), AFFINE),
        nib.Nifti1Image(data.astype(np.float32), AFFINE),
        nib.Nifti2Image(data.astype(np.uint8), AFFINE),
        nib.Nifti1Image((data > 600).astype(np.uint8), AFFINE),
        nib.Nifti1Image(data[..., None].astype(">f8"), AFFINE),
    ]
    return tuple(one.to_bytes() for one in made)


def mgh() -> tuple[bytes, ...]:
    data = np.random.default_rng(0).normal(500, 100, SHAPE).astype(np.float32)
    return (nib.MGHImage(data, AFFINE).to_bytes(),)


def nrrd() -> tuple[bytes, ...]:
    data = np.random.default_rng(0).integers(1, 900, SHAPE).astype("<i2").tobytes()
    head = b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 16 18 20\nendian: little\n"
    place = b"space: left-posterior-superior\nspace directions: (10,0,0) (0,10,0) (0,0,10)\nspace origin: (0,0,0)\n"
    return (
        head + place + b"encoding: raw\n\n" + data,
        head + b"spacings: 10 10 10\nencoding: gzip\n\n" + gzip.compress(data),
    )


def safetensors(folder: Path) -> tuple[bytes, ...]:
    import torch

    from asa.training import checkpoint

    checkpoint.save(folder / "a.safetensors", {"a": torch.ones(3), "b": torch.zeros(2, 2)}, {"step": 3})
    return ((folder / "a.safetensors").read_bytes(),)


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader by its name."""
    from asa.cohort import bids
    from asa.data.folder import read_table
    from asa.models import check_complete
    from asa.refinement.marks import read_marks
    from asa.tasks import TASKS
    from asa.training import checkpoint
    from asa.training.settings import read_yaml
    from asa.volume import read_scan, read_volume

    marks = {
        "format": 1,
        "locked": ["ED"],
        "marks": [{"kind": "point", "segment": "WT", "action": "add", "points_mm": [[1, 2, 3]]}],
    }

    def tree(path: Path) -> object:
        """The content of the file is the name of an image in a BIDS folder."""
        name = path.read_bytes()[:200].replace(b"/", b"_").replace(b"\0", b"_")
        place = path.parent / "sub-01" / "anat"
        place.mkdir(parents=True, exist_ok=True)
        image = Path(os.fsdecode(os.fsencode(place) + b"/" + name + b".nii.gz"))
        try:
            image.touch()
        except OSError:  # a name that the file system does not take
            return None
        try:
            return bids.find_sessions(path.parent, TASKS["tumour"].modalities)
        finally:
            image.unlink()

    found = {
        "nifti": Reader("a.nii", nifti(), read_scan),
        "nifti labels": Reader("a.nii.gz", nifti(), lambda path: read_volume(path, labels=True), packed=True),
        "mgz": Reader("a.mgz", mgh(), read_scan, packed=True),
        "nrrd": Reader("a.nrrd", nrrd(), read_scan),
        "marks": Reader("marks.json", (json.dumps(marks).encode(),), read_marks),
        "weights": Reader("model.safetensors", safetensors(folder), check_complete),
        "checkpoint": Reader("last.safetensors", safetensors(folder), checkpoint.load),
        "settings": Reader("a.yaml", (b"store: a\nepochs: 3\nencoder: {dim: 4, frame: [1, 2, 3]}\n",), read_yaml),
        "table of cases": Reader("cases.csv", (b"case,t1,labels\na,a.nii,b.nii\nb,,\n",), read_table),
        "bids names": Reader("name", (b"sub-01_ses-2_acq-x_run-1_T1w", b"sub-01_ce-gd_rec-norm_space-T1w_FLAIR"), tree),
    }
    for name, (file, value, read) in JSON_READERS.items():
        found[name] = Reader(file, (json.dumps(value).encode(),), read)
    return found


def mutated(good: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes of a good file."""
    data = bytearray(good)
    for _ in range(int(rng.integers(1, 5))):
        size = len(data)
        at, length = int(rng.integers(0, size + 1)), int(rng.integers(1, 9))
        # Headers say how everything else is read: half of the changes are there.
        at = min(at, int(rng.integers(0, 400))) if rng.random() < 0.5 else at
        match int(rng.integers(0, 8)):
            case 0 if size:
                data[at % size] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data = data[:at]
            case 2:
                data[at:at] = data[at : at + length * 4]
            case 3:
                del data[at : at + length]
            case 4:
                data[at : at + length] = BYTES[int(rng.integers(len(BYTES)))]
            case 5:
                data[at : at + length] = NUMBERS[int(rng.integers(len(NUMBERS)))]
            case 6:
                data = data[:at] + other[at:]
            case _:
                data[at:at] = rng.bytes(length)
    return bytes(data)


class Judge:
    """Gives inputs to a reader, and keeps those that it neither understands nor refuses."""

    def __init__(self, reader: Reader, folder: Path, keep: Path | None) -> None:
        self.reader, self.keep = reader, keep
        self.path = folder / reader.name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.counts: Counter[str] = Counter()
        self.crashes: dict[str, bytes] = {}
        self.tally = folder.with_suffix(".tally")

    def save(self) -> None:
        """Write what has been counted so far."""
        self.tally.write_text(json.dumps([self.counts, list(self.crashes)]), encoding="utf-8")

    def __call__(self, data: bytes) -> None:
        """Read one input."""
        packed = gzip.compress(data, 1) if self.reader.packed else data
        self.path.write_bytes(packed)
        signal.alarm(SLOW_S)
        _watched.folder = str(self.path.parent)
        try:
            self.reader.read(self.path)
            self.counts["understood"] += 1
        except AsaError as error:
            if not str(error).strip() or "Unexpected" in str(error):
                self.crash(f"no sentence: {error!r}", data)
            else:
                self.counts["refused"] += 1
        except BaseException as error:
            self.crash(f"{type(error).__name__}: {error}"[:120], data)
        finally:
            _watched.folder = ""
            signal.alarm(0)
        if self.counts.total() % SAVED_EVERY == 0:
            self.save()

    def crash(self, what: str, data: bytes) -> None:
        """Keep an input."""
        self.counts["crashed"] += 1
        if what not in self.crashes:
            self.crashes[what] = data
            if self.keep is not None:
                self.keep.mkdir(parents=True, exist_ok=True)
                (self.keep / f"{self.reader.name} {len(self.crashes)}").write_bytes(data)


class _Watched:
    """The only folder in which files may be opened for writing; "" while nothing is watched."""

    folder = ""


_watched = _Watched()


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that refuses what no file may make a reader do."""
    if not _watched.folder:
        return
    if event in FORBIDDEN:
        raise RuntimeError(f"a file started {event}")
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
        writes = any(letter in arguments[1] for letter in "wax+")
        if writes and not arguments[0].startswith((_watched.folder, tempfile.gettempdir())):
            raise RuntimeError(f"a file made {arguments[0]} be written")


def too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SLOW_S} s")


def draw(reader: Reader, judge: Judge, number: int, seed: int) -> None:
    """Random mutations of good files."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        one, other = (reader.good[int(rng.integers(len(reader.good)))] for _ in range(2))
        judge(mutated(one, other, rng))


def guided(reader: Reader, judge: Judge, number: int, seed: int) -> None:
    """Inputs chosen by the coverage that they reach; in a process of its own, because atheris ends it."""
    import atheris

    corpus = judge.path.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for count, good in enumerate(reader.good):
        (corpus / str(count)).write_bytes(good)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={number}", f"-seed={seed + 1}", "-max_len=65536", str(corpus)], judge)
    atheris.Fuzz()


def forked(work: Callable[[], None], judge: Judge) -> tuple[Counter[str], list[str]]:
    """Run in a process with bounded memory, which atheris ends as it likes; what came of its inputs."""
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()
        judge.save()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    counts, crashes = json.loads(judge.tally.read_text()) if judge.tally.exists() else ({}, [])
    if status:
        counts, crashes = (
            {**counts, "crashed": counts.get("crashed", 0) + 1},
            [*crashes, f"the process ended with {status}"],
        )
    return Counter(counts), crashes


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--number", type=int, default=1_000_000, help="inputs in all")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--random", action="store_true", help="do not use atheris")
    parser.add_argument("--keep", type=Path, help="folder for inputs that crash")
    parser.add_argument("--output", type=Path, help="folder for the table")
    arguments = parser.parse_args()
    use = guided if importlib.util.find_spec("atheris") and not arguments.random else draw
    signal.signal(signal.SIGALRM, too_slow)
    sys.addaudithook(watch)
    started, rows, crashes, total = time.monotonic(), [], [], 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        known = readers(Path(folder))
        names = arguments.reader or list(known)
        for name in names:
            place = Path(folder) / name.replace(" ", "-")
            judge = Judge(known[name], place, arguments.keep)
            counts, found = forked(
                lambda name=name, judge=judge: use(known[name], judge, arguments.number // len(names), arguments.seed),
                judge,
            )
            total += counts["crashed"]
            rows.append([name, counts.total(), counts["understood"], counts["refused"], counts["crashed"]])
            crashes += [[name, what] for what in found]
            print(*rows[-1], *found, sep="\t", flush=True)
    if arguments.output:
        text = [
            "# Damaged files\n",
            NOTES,
            f"\nInputs by {'coverage (atheris)' if use is guided else 'random mutation'}:\n\n",
            markdown(["reader", "inputs", "understood", "refused", "crashed"], rows),
            f"\n{markdown(['reader', 'crash'], crashes)}" if crashes else "",
            f"\n{(time.monotonic() - started) / 60:.0f} minutes. Made with {provenance('nibabel', 'atheris')}.\n",
        ]
        (arguments.output / "fuzz.md").write_text("".join(text), encoding="utf-8")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
