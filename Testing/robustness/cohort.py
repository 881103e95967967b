"""A cohort from beginning to end: a BIDS data set of real scans, interrupted, continued and validated.

    python -m Testing.robustness.cohort --work FOLDER [--output FOLDER]

Run at the root of the checkout, with asa[slurm] and bids-validator-deno installed, on Linux; `asa bids` segments the
scans in one thread. Parts that need no real scan use thresholds in place of the network: a job array of which a job is
killed (submitit's stand-in for a cluster), and a disk that is full in the middle of a batch (a small tmpfs, for which
the program must be root; without it that row is left out). Writes cohort.md with --output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from Testing.benchmarks.heads import data_root
from Testing.benchmarks.tables import markdown, provenance
from Testing.robustness.fault_programs import head

from asa.files import read_json, sha256, write_json

ENGINE = Path(__file__).parents[1] / "engine" / "fake_engine.py"
# Where an image comes from, and its name in the data set; the places of the heads are in the README of the data.
IMAGES = {
    "t1/sub-01/anat/sub-01_T1w.nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
    "t1/sub-02/anat/sub-02_T1w.nii.gz": "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
    "t1/sub-03/anat/sub-03_T1w.nii.gz": "sub-02/ses-b/anat/sub-02_ses-b_acq-mprage_run-1_T1w.nii.gz",
    "t1/sub-04/anat/sub-04_T1w.nii.gz": "sub-02/ses-b/anat/sub-02_ses-b_acq-mprage_run-2_T1w.nii.gz",
    "heads/sub-02/anat/sub-02_T1w.nii.gz": "sub-03/anat/sub-03_T1w.nii.gz",
    "ms/patient07/patient07_t1.nii.gz": "sub-04/ses-a/anat/sub-04_ses-a_T1w.nii.gz",
    "ms/patient07/patient07_flair.nii.gz": "sub-04/ses-a/anat/sub-04_ses-a_FLAIR.nii.gz",
    "brats/BraTS2021_01478/BraTS2021_01478_t1.nii.gz": "sub-05/anat/sub-05_T1w.nii.gz",
    "brats/BraTS2021_01478/BraTS2021_01478_t1ce.nii.gz": "sub-05/anat/sub-05_ce-gadolinium_T1w.nii.gz",
    "brats/BraTS2021_01478/BraTS2021_01478_t2.nii.gz": "sub-05/anat/sub-05_T2w.nii.gz",
    "brats/BraTS2021_01478/BraTS2021_01478_flair.nii.gz": "sub-05/anat/sub-05_FLAIR.nii.gz",
}
# Those that are segmented by default, and their sessions.
PARTICIPANTS = ("01", "02", "04")
# Hold times, or what was done and what was kept, which differ between two runs.
VOLATILE = ("report.json", "summary.json", "volumes.tsv")
KILLED_AFTER_S = 20.0  # into the network, or what follows it
DISK_MB = 8  # holds the results of all the small heads, but not next to FILLED_MB
FILLED_MB = 7.6
Row = list[str | float | int]


def make_tree(tree: Path) -> None:
    """Write a data set in BIDS: heads with and without sessions, two runs of one modality, lesions, a glioma."""
    for source, name in IMAGES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data_root() / source, path)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        sidecar.write_text(json.dumps({"SkullStripped": "heads/" not in source}) + "\n", encoding="utf-8")
    described = {"Name": "Development heads", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "n/a"}
    (tree / "dataset_description.json").write_text(json.dumps(described) + "\n", encoding="utf-8")
    (tree / "README").write_text("Heads of several public data sets under new names, for a test.\n", encoding="utf-8")


def start(*arguments: object, engine: tuple[str, ...] = ("-m", "asa"), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *engine, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, float]:
    """Exit code of a program, what it said, and the peak memory of its largest process in GiB."""
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, said, used.ru_maxrss / (1 << 20)


def validated(folder: Path) -> str:
    """What the BIDS validator says of a data set, in words."""
    done = subprocess.run(
        ["bids-validator-deno", str(folder), "--format", "json"],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    for issue in issues:
        if issue["severity"] == "error":
            print(f"{issue.get('code')} {issue.get('subCode', '')} {issue.get('location', '')}")
    counts = Counter(issue["severity"] for issue in issues)
    return f"{counts['error']} errors, {counts['warning']} warnings"


def statuses(out: Path) -> str:
    """How many cases had which outcome."""
    counts = Counter(case["status"] for case in read_json(out / "summary.json")["cases"])
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def wait_for(true: Callable[[], bool], seconds: float = 1800) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened for {seconds:.0f} s")
        time.sleep(0.1)


def contents(out: Path) -> dict[str, str]:
    """SHA-256 of each file of derivatives; of what names times or versions that it is there."""
    return {
        str(path.relative_to(out)): "there" if path.name in VOLATILE else sha256(path)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def leftovers(out: Path) -> list[Path]:
    """Hidden and temporary files that no program should leave."""
    return [path for path in out.rglob(".*") if path.name != ".bidsignore"]


def real_heads(work: Path, participants: Sequence[str]) -> Iterator[Row]:
    """The data set, one run that is undisturbed, one that is interrupted and continued, and the validator."""
    tree, whole, interrupted = work / "data", work / "whole", work / "interrupted"
    make_tree(tree)
    yield [f"data set of {len(IMAGES)} images, BIDS validator", validated(tree)]
    options = ("--probseg", "--mni", "--device", "cpu", "--threads", "1")
    words = ("bids", tree, whole, "participant", *options, "--participant-label")
    code, said, one = ended(start(*words, participants[0]))
    print(said)
    code, said, more = ended(start(*words, *participants))
    print(said)
    sessions = sorted(path.parent.name for path in (whole / "asa").glob("*/report.json"))
    yield [f"participant level, {len(sessions)} sessions", f"exit code {code}, {statuses(whole)}"]
    yield ["peak memory for the first session, and for the others", f"{one:.2f} GiB, {more:.2f} GiB"]
    words = ("bids", tree, interrupted, "participant", *options, "--participant-label", *participants)
    process = start(*words)
    wait_for(lambda: (interrupted / "asa" / sessions[len(sessions) // 2] / ".asa-lock").exists())
    time.sleep(KILLED_AFTER_S)
    process.send_signal(signal.SIGTERM)
    code, said, _ = ended(process)
    done = sum((interrupted / "asa" / name / "report.json").is_file() for name in sessions)
    left = len(leftovers(interrupted))
    what = f"SIGTERM during session {len(sessions) // 2 + 1} of {len(sessions)}"
    yield [what, f"exit code {code}, {done} finished, {left} files half-written"]
    print(said)
    code, said, _ = ended(start(*words))
    print(said)
    same = "the same files as without the signal" if contents(interrupted) == contents(whole) else "OTHER FILES"
    yield ["the same command again", f"exit code {code}, {statuses(interrupted)}; {same}"]
    code, said, _ = ended(start("bids", tree, interrupted, "group"))
    rows = len((interrupted / "group_tissue.tsv").read_text(encoding="utf-8").splitlines()) - 1
    yield ["group level", f"exit code {code}, {rows} rows"]
    yield ["derivatives, BIDS validator", validated(interrupted)]


def descendants(process: int) -> list[int]:
    """Numbers of the processes that a process has started, and those that they have."""
    children = Path(f"/proc/{process}/task/{process}/children")
    found = [int(word) for word in children.read_text().split()] if children.exists() else []
    return [number for child in found for number in (child, *descendants(child))]


def array(work: Path) -> Iterator[Row]:
    """An array of two jobs, of which one is killed after its first head, and the same command again."""
    site, given, out = work / "site", work / "array", work / "array_out"
    site.mkdir(exist_ok=True)
    source = "import sys\nfrom Testing.engine import fake_engine\nsys.modules.update(fake_engine.modules())\n"
    (site / "sitecustomize.py").write_text(source, encoding="utf-8")  # jobs are processes of submitit's own
    for number in range(6):
        head(given / f"head{number}.nii.gz", number)
    environment = {"PYTHONPATH": f"{site}{os.pathsep}{Path.cwd()}", "FAKE_DELAY": "4"}
    words = ("segment", given, "-o", out, "--jobs", "2", "--slurm", "kind=local,cpus=1,hours=1")
    process = start(*words, **environment)
    wait_for(lambda: (out / "head1" / "report.json").exists() and (out / "head3" / ".asa-lock").exists())
    jobs = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    for number in (jobs[1], *descendants(jobs[1])):
        os.kill(number, signal.SIGKILL)
    code, said, _ = ended(process)
    print(said)
    yield ["array of two jobs, the second killed during its second scan", f"exit code {code}, {statuses(out)}"]
    code, said, _ = ended(start(*words, **environment))
    print(said)
    yield ["the same command again", f"exit code {code}, {statuses(out)}, {len(leftovers(out))} files half-written"]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(work: Path) -> Iterator[Row]:
    """A batch whose results do not fit onto the disk; then with room."""
    given, disk = work / "many", work / "disk"
    for number in range(8):
        head(given / f"head{number}.nii.gz", number)
    engine = (str(ENGINE), "cli")
    environment = {"PYTHONPATH": str(Path.cwd())}
    for jobs in (1, 2):
        words = ("segment", given, "-o", disk / "out", "--jobs", str(jobs))
        with small_disk(disk, DISK_MB):
            filler = disk / "filler"
            filler.write_bytes(bytes(int(FILLED_MB * (1 << 20))))
            code, said, _ = ended(start(*words, engine=engine, **environment))
            print(said)
            complete = len(list((disk / "out").glob("*/report.json")))
            left = len(leftovers(disk / "out"))
            failed = f"{said.count('failed: ')} failed with a message, {said.count('Traceback')} tracebacks"
            what = f"batch of 8 scans onto a full disk, {jobs} in parallel"
            yield [what, f"exit code {code}, {complete} finished, {failed}, {left} files half-written"]
            filler.unlink()
            code, said, _ = ended(start(*words, engine=engine, **environment))
            yield ["the same command with free space", f"exit code {code}, {statuses(disk / 'out')}"]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.robustness.cohort",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for data and results; emptied part by part")
    parser.add_argument("--output", type=Path, help="folder for the table")
    parser.add_argument(
        "--only", choices=("heads", "array", "disk", "report"), help="one part anew, or none: the others as they were"
    )
    parser.add_argument("--participants", nargs="+", default=PARTICIPANTS, help="which are segmented")
    arguments = parser.parse_args()
    heads = partial(real_heads, participants=arguments.participants)
    parts: dict[str, Callable[[Path], Iterator[Row]]] = {"heads": heads, "array": array}
    if os.geteuid() == 0:
        parts["disk"] = full_disk
    for name, part in parts.items():
        if arguments.only in (None, name):
            folder = arguments.work / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(arguments.work / f"{name}.json", {"rows": [*part(folder)]})
    records = [arguments.work / f"{name}.json" for name in parts]
    table = markdown(["what", "result"], [row for path in records if path.exists() for row in read_json(path)["rows"]])
    print(table)
    if arguments.output:
        made = f"Made by `python -m Testing.robustness.cohort` with {provenance('torch', 'numpy', 'submitit')}."
        notes = (__doc__ or "").split("\n\n")[2]
        text = f"# Robustness of a cohort run\n\n{table}\n{notes}\n\n{made}\n"
        (arguments.output / "cohort.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
