"""Measure the comparison of two visits.

    python -m Testing.benchmarks.visits noise tissue --count 12   # heads and their altered copies; writes noise.json
    python -m Testing.benchmarks.visits rescan                    # one person scanned twice; nothing is chosen on it
    python -m Testing.benchmarks.visits scale                     # by how much a head is larger at one visit
    python -m Testing.benchmarks.visits changes --patients DIR    # two patients with masks of what changed
    python -m Testing.benchmarks.visits lesions                   # three visits of one patient against their consensus

Records go to ``--work`` as they are measured, so that an interrupted run is continued; ``report`` writes the page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from Testing.benchmarks.heads import data_root
from Testing.benchmarks.tables import commit
from Testing.benchmarks.visits import report
from Testing.benchmarks.visits.changes import PATIENTS, score_changes, visit_images
from Testing.benchmarks.visits.copies import altered
from Testing.benchmarks.visits.scale import label_changes, scale_percent
from Testing.benchmarks.visits.scoring import score_visits

from asa.files import write_json
from asa.jobs.compare import CompareRequest, compare
from asa.models import find_model
from asa.request import SegmentRequest
from asa.volume import read_scan, write_volume

# Patients whose lesions the noise is measured on; the patient with several visits is not among them.
LESION_HEADS = ("ms/patient07/patient07", "ms/patient26/patient26", "ms_more/mslesseg/P18/T1/P18_T1")
RESCANNED = ("malf/1003/1003_SS.nii.gz", "malf/1023/1023_SS.nii.gz")
LONGITUDINAL, VISITS = "ms_more/mslesseg/P14", ("T1", "T2", "T3")


def heads(task: str, root: Path, count: int) -> Iterator[tuple[str, dict[str, Path]]]:
    """Name and images of each head whose copies are measured."""
    if task == "tissue":
        found = sorted((root / "t1").glob("sub-*/anat/*_T1w.nii.gz"))
        for path in found[:: max(1, len(found) // count)][:count]:
            yield path.name.partition("_")[0], {"t1": path}
    else:
        for stem in LESION_HEADS[:count]:
            images = {key: root / f"{stem}_{key}.nii.gz" for key in ("flair", "t1")}
            yield Path(stem).name, images


def measure_noise(task: str, work: Path, count: int, threads: int) -> None:
    """Compare each head with an altered copy of itself."""
    for seed, (name, images) in enumerate(heads(task, data_root(), count)):
        record = work / f"noise_{task}_{name}.json"
        if record.exists():
            continue
        copies = {}
        for key, path in images.items():  # of one visit: one pose, one protocol
            copies[key] = work / "copies" / f"{name}_{key}.nii.gz"
            write_volume(altered(read_scan(path), seed), copies[key])
        report_, seconds = compared(images, copies, task, work / "results" / f"{task}_{name}", threads)
        states = [lesion["state"] for lesion in report_["lesions"]]
        kept = {key: report_[key] for key in ("changes", "registration", "trust", "model")}
        keep(record, {"head": name, **kept, "lesions": states, "seconds": seconds})
        print(f"{name}: {seconds:.0f} s", flush=True)


def measure_rescan(work: Path, threads: int) -> None:
    """Compare two scans of one person."""
    first, second = ({"t1": data_root() / path} for path in RESCANNED)
    found, seconds = compared(first, second, "tissue", work / "results" / "rescan", threads)
    kept = {key: found[key] for key in ("changes", "registration", "trust", "model")}
    keep(work / "rescan.json", {**kept, "seconds": seconds})


def measure_scale(work: Path) -> None:
    """Measure the scale between the visits of the rescan and of the copies that have been compared."""
    for folder in (work / "results" / "rescan", *sorted((work / "results").glob("tissue_*"))):
        keep(work / f"scale_{folder.name}.json", {"name": folder.name, **scale_percent(folder)})
    labels = [data_root() / path.replace("_SS", "_classified") for path in RESCANNED]
    keep(work / "manual_rescan.json", label_changes(labels[0], labels[1]))


def measure_lesions(work: Path, threads: int) -> None:
    """Compare the visits of a patient pairwise, and the new and gone lesions with those of the consensus masks."""
    folder = data_root() / LONGITUDINAL
    for first, second in (("T1", "T2"), ("T2", "T3"), ("T1", "T3")):
        images = [
            {key: folder / visit / f"P14_{visit}_{key}.nii.gz" for key in ("flair", "t1")} for visit in (first, second)
        ]
        out = work / "results" / f"P14_{first}_{second}"
        found, seconds = compared(images[0], images[1], "wmh", out, threads)
        masks = [folder / visit / f"P14_{visit}_lesions.nii.gz" for visit in (first, second)]
        scores = score_visits(out, masks)
        record = {"visits": [first, second], "model": found["model"], **scores, "seconds": seconds}
        keep(work / f"lesions_{first}_{second}.json", record)
        print(f"{first} -> {second}: {scores}", flush=True)


def measure_changes(patients: Path, work: Path, threads: int) -> None:
    """Compare the visits of the patients with masks of change, and their lesions with these masks."""
    for name in PATIENTS:
        out = work / "results" / name
        found, seconds = compared(*visit_images(patients / name), "wmh", out, threads)
        scores = score_changes(out, patients / name)
        kept = {key: found[key] for key in ("registration", "trust", "model")}
        keep(work / f"changes_{name}.json", {"name": name, **kept, **scores, "seconds": seconds})
        print(f"{name}: {scores}", flush=True)


def keep(path: Path, record: dict) -> None:
    """Write a record with the commit that it was measured at."""
    write_json(path, {**record, "commit": commit()})


def compared(
    first: dict[str, Path], second: dict[str, Path], task: str, folder: Path, threads: int
) -> tuple[dict, float]:
    """Report and seconds of a comparison."""
    started = time.monotonic()
    request = CompareRequest(first, second, SegmentRequest({}, task=task, device="cpu", threads=threads))
    return compare(request, folder).report, round(time.monotonic() - started, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("noise", "rescan", "scale", "changes", "lesions", "report"))
    parser.add_argument("task", nargs="?", choices=("tissue", "wmh"), default="tissue")
    parser.add_argument("--work", type=Path, default=Path("visits_work"), help="folder for records and results")
    parser.add_argument("--patients", type=Path, help="folder of the patients of open_ms_data with two visits")
    parser.add_argument("--count", type=int, default=12, help="heads")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    commit()  # before the work, during which another may be checked out
    if chosen.what == "noise":
        measure_noise(chosen.task, chosen.work, chosen.count, chosen.threads)
    elif chosen.what == "rescan":
        measure_rescan(chosen.work, chosen.threads)
    elif chosen.what == "scale":
        measure_scale(chosen.work)
    elif chosen.what == "changes":
        if chosen.patients is None:
            parser.error("--patients: name the folder that holds " + " and ".join(PATIENTS))
        measure_changes(chosen.patients, chosen.work, chosen.threads)
    elif chosen.what == "lesions":
        measure_lesions(chosen.work, chosen.threads)
    else:
        versions = {name: find_model(name, name).description.version for name in ("tissue", "wmh")}
        report.write(chosen.work, versions)
        print(json.dumps(report.noise(chosen.work), indent=2))


if __name__ == "__main__":
    main()
