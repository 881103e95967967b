"""Segment heads with each system and score them; every score is a plain record that can be kept as JSON."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from Testing.benchmarks.heads import REFERENCE_REGIONS, Head

from asa.inference import SegmentRequest, segment
from asa.metrics import score_case
from asa.tasks import TASKS
from asa.volume import read_volume

Record = dict[str, Any]
PEERS_SCRIPT = Path(__file__).resolve().parents[1] / "peers.py"
# The references call "CSF" what the tissue task calls ventricles: sulcal CSF is not marked in them.
OUR_NAMES = {"CSF": "ventricles", "GM": "GM", "WM": "WM"}
METRICS = ("dice", "hd95_mm", "volume_ml", "reference_ml")


def score(labels: np.ndarray, values: Mapping[str, tuple[int, ...]], head: Head) -> Record:
    """Scores of a label map (T, H, W) on the grid of the head.

    Returns:
        ``classes``: class -> dice, hd95_mm, volume_ml, reference_ml, and dice_marked: the Dice when only voxels
        that the reference labels at all are looked at.
    """
    reference = read_volume(head.reference, labels=True)
    common = np.zeros(labels.shape, dtype=np.uint8)
    for name, reference_values in REFERENCE_REGIONS.items():
        common[np.isin(labels, values[name])] = reference_values[0]
    whole = score_case(common, reference.array, REFERENCE_REGIONS, reference.spacing)
    marked = score_case(np.where(reference.array > 0, common, 0), reference.array, REFERENCE_REGIONS, reference.spacing)
    return {
        "dataset": head.dataset,
        "head": head.name,
        "classes": {
            name: {metric: scores[metric] for metric in METRICS} | {"dice_marked": marked[name]["dice"]}
            for name, scores in whole.items()
        },
    }


def score_ours(head: Head, *, model: str | None, tta: bool | None, device: str, threads: int | None) -> Record:
    """Segment one head with the project's own tissue model.

    Returns:
        What :func:`score` does, and ``volumes_ml``: region of the task -> mL, sulcal CSF included in ``CSF``.
    """
    start = time.perf_counter()
    result = segment(
        SegmentRequest(images={"t1": head.image}, task="tissue", model=model, tta=tta, device=device, threads=threads)
    )
    seconds = time.perf_counter() - start
    regions = {region.name: region.values for region in TASKS["tissue"].regions}
    values = {name: regions[ours] for name, ours in OUR_NAMES.items()}
    voxel_ml = result.labels.grid.voxel_volume_ml
    volumes = {name: float(np.isin(result.labels.array, labels).sum() * voxel_ml) for name, labels in regions.items()}
    return score(result.labels.array, values, head) | {
        "volumes_ml": volumes,
        "version": f"{result.model.name} {result.model.description.version}".strip(),
        "seconds": seconds,
    }


def score_peer(head: Head, system: str, *, python: Path, cache: Path) -> Record:
    """Score a peer's label map; it is computed by the peers' interpreter unless the cache holds it.

    Raises:
        subprocess.CalledProcessError: the peer failed; its own message is on standard error.
    """
    output = cache / system / f"{head.name}.nii.gz"
    statistics = output.with_name(output.name + ".json")
    if not statistics.is_file():
        output.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(python), str(PEERS_SCRIPT), system, str(head.image), str(output)], check=True)
    run = json.loads(statistics.read_text(encoding="utf-8"))
    labels = read_volume(output, labels=True).array
    return score(labels, REFERENCE_REGIONS, head) | {"version": run["version"]}
