"""report.json: inputs, settings and results of a segmentation."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from asa import __version__
from asa.geometry import Alignment
from asa.report.volumes import Measurement, rounded
from asa.tasks import Task
from asa.volume import Grid

SCHEMA_VERSION = 1
_LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "slicer-core")


def library_versions() -> dict[str, str]:
    """Versions of asa, Python and the libraries a result depends on, as far as they are installed."""
    versions = {"asa": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def build_report(
    *,
    task: Task,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    device: str,
    grid: Grid,
    alignment: Alignment,
    series: Mapping[str, Mapping[str, object]],
    reference: str,
    trust: Mapping[str, Any],
    measurements: Sequence[Measurement],
    brain_ml: float | None,
    timings: Mapping[str, float],
    warnings: Iterable[str],
    outputs: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of report.json.

    `inputs` maps a modality to the SHA-256 of its file: enough to know the scan again, nothing to know the patient
    by. `outputs` maps each file of the result to its SHA-256, so that damage is noticed. `grid` is the scan's, its
    shape and spacing in the engine's (T, H, W) order; `brain_ml` is the volume of the brain mask, None if unknown;
    `series` says how each series was placed and `reference` on which the result lies; `trust` holds the verdict ("ok"
    or "doubtful") and its reasons; `timings` are in seconds.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task.name,
        "model": dict(model),
        "settings": dict(settings),
        "inputs": {modality: {"sha256": digest} for modality, digest in inputs.items()},
        "versions": library_versions(),
        "device": device,
        "grid": {"shape_thw": list(grid.shape), "spacing_thw_mm": [round(float(s), 4) for s in grid.spacing]},
        "alignment": {"method": alignment.method, "quality": round(float(alignment.quality), 4)},
        "series": {modality: dict(how) for modality, how in series.items()},
        "reference": reference,
        "trust": dict(trust),
        "label_values": task.label_values,
        "labels": [
            {
                "value": label.value,
                "name": label.name,
                "title": label.title,
                "colour": list(label.colour),
                "terminology": asdict(label.terminology),
            }
            for label in task.labels
        ],
        "volumes": [rounded(m) for m in measurements],
        "brain_ml": None if brain_ml is None else round(brain_ml, 3),
        "timings_s": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        "warnings": list(warnings),
        "outputs": {name: {"sha256": outputs[name]} for name in sorted(outputs)},
        "files": sorted(outputs),
        "intended_use": "Research use only; not a medical device.",
    }
