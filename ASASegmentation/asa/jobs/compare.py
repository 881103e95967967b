"""Comparison of two visits, from request to finished folder: what ``asa compare`` and scripts run.

Both visits are moved half-way to one another, resampled there once, and segmented with one alignment, so that what
differs is the head and not how it was treated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa.errors import InputError
from asa.files import sha256
from asa.jobs.result_folder import REPORT, find_current, protect
from asa.jobs.segment import Finished, file_sha256, make_result, model_sha256
from asa.program import Progress
from asa.request import SegmentRequest
from asa.tasks import TASKS, TITLES, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asa.geometry.midway import Midway
    from asa.inference import SegmentResult
    from asa.inference.series import Placement
    from asa.longitudinal.lesions import LesionChange
    from asa.longitudinal.overlay import Part
    from asa.longitudinal.volumes import Change
    from asa.volume import Volume

VISITS = ("visit1", "visit2")
CHANGES, LESIONS, LESION_MAP, PICTURE = "changes.csv", "lesions.csv", "lesions.nii.gz", "changes.png"
CHANGE_MAP = "change.nii.gz"
# Share of the whole that is done when a stage begins.
_REGISTERING, _SEGMENTING, _COMPARING = 0.05, 0.25, 0.95
# Distance between registering the visits forwards and backwards above which the registration is doubted.
INCONSISTENT_MM = 1.0
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CompareRequest:
    """Which visits to compare, and how.

    Attributes:
        first: modality key -> image of the earlier visit.
        second: modality key -> image of the later visit, of the same modalities.
        settings: task, model, device and so on; its images are not used.
    """

    first: Mapping[str, Path]
    second: Mapping[str, Path]
    settings: SegmentRequest = field(default_factory=lambda: SegmentRequest({}))

    def check(self) -> None:
        """Reject a request that cannot be fulfilled.

        Raises:
            InputError: an image is missing or unknown, or the visits have different modalities.
        """
        for images in (self.first, self.second):
            replace(self.settings, images=images).check()
        if self.first.keys() != self.second.keys():
            shown = [", ".join(TITLES.get(key, key) for key in images) for images in (self.first, self.second)]
            raise InputError(
                f"The first visit has {shown[0]} and the second {shown[1]}; give images of the same kinds for both."
            )


@dataclass(frozen=True, eq=False)
class _Comparison:
    midway: Midway
    changes: Sequence[Change]
    lesions: Sequence[LesionChange]
    parts: Sequence[Part]


def compare(
    request: CompareRequest, folder: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> Finished:
    """Compare two visits and write the result folder, all or nothing, as :func:`asa.jobs.segment.run` does it.

    It holds the images and label maps of both visits in the space half-way between them, changes.csv, changes.png,
    change.nii.gz, report.json, and for lesions lesions.csv and lesions.nii.gz.

    Args:
        request: the images and the settings.
        folder: the result folder; created if missing.
        overwrite: compare even if the folder holds an intact result of the same images, model and settings.
        progress: called with the name of the stage and the fraction done.

    Raises:
        InputError: an image is unusable, or the visits have different modalities.
        OutputError: the folder cannot be written, or a file that ASA did not write is in the way.
        ModelError: the model does not exist or is damaged.
        ResourceError: there is not enough memory, or the device does not exist.
        Cancelled: on KeyboardInterrupt; nothing was written.
    """
    from asa.longitudinal.tables import rounded, write_changes
    from asa.models import find_model

    request.check()
    task = TASKS[request.settings.task]
    model = find_model(request.settings.model, task.name)
    images = dict(zip(VISITS, (request.first, request.second), strict=True))
    used = [key for key in request.first if key in model.modalities]
    names = [f"{visit}_{key}.nii.gz" for visit in VISITS for key in (*used, "labels")]
    names += [CHANGES, CHANGE_MAP, LESIONS, LESION_MAP, PICTURE, REPORT]
    protect([path for visit in images.values() for path in visit.values()], [folder], names)
    inputs = {f"{visit}_{key}": file_sha256(images[visit][key]) for visit in VISITS for key in used}
    settings = {
        "task": task.name,
        "model": model.name,
        "model_sha256": model_sha256(model.path),
        "tta": model.description.tta if request.settings.tta is None else request.settings.tta,
        "threshold": request.settings.threshold,
        "compared": list(VISITS),
        "shading": "evened",
    }
    report, reason = (None, "") if overwrite else find_current(folder, settings, inputs, set())
    if report is not None:
        return Finished(folder, report, reused=True)

    def make(staging: Path, show: Progress) -> dict[str, Any]:
        started = time.perf_counter()
        made, doubts, notes = run(request, staging, show)
        show("writing", _COMPARING)
        write_changes(staging / CHANGES, made.changes)
        doubts = list(dict.fromkeys(doubts))
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "task": task.name,
            "model": {"name": model.name, "version": model.description.version or None},
            "settings": settings,
            "inputs": {name: {"sha256": digest} for name, digest in inputs.items()},
            "registration": {
                "agreement": round(made.midway.agreement, 3),
                "inconsistency_mm": round(made.midway.inconsistency_mm, 3),
                "rotation_degrees": round(made.midway.rotation_degrees, 2),
                "midway_to_visit1": made.midway.to_first.round(6).tolist(),
                "midway_to_visit2": made.midway.to_second.round(6).tolist(),
            },
            "trust": {"verdict": "doubtful" if doubts else "ok", "reasons": doubts},
            "changes": [rounded(asdict(row)) for row in made.changes],
            "lesions": [rounded(asdict(row)) for row in made.lesions],
            "map": [asdict(part) for part in made.parts],
            "timings_s": {"total": round(time.perf_counter() - started, 3)},
            "warnings": list(dict.fromkeys([*doubts, *notes])),
            "outputs": {path.name: {"sha256": sha256(path)} for path in sorted(staging.iterdir())},
            "files": sorted(path.name for path in staging.iterdir()),
            "intended_use": "Research use only; not a medical device.",
        }

    return make_result(folder, make, reason, progress)


def run(request: CompareRequest, folder: Path, show: Progress) -> tuple[_Comparison, list[str], list[str]]:
    """Register, segment and compare two visits, and write their images, label maps and picture into ``folder``.

    Args:
        request: the images and the settings; checked.
        folder: where the files are written.
        show: called with the name of the stage and the fraction done.

    Returns:
        The comparison, doubts, and other warnings.
    """
    import numpy as np

    from asa.geometry import brain_region
    from asa.geometry.midway import find_midway, seen_by_both
    from asa.inference import segment
    from asa.inference.placement import place_series
    from asa.longitudinal.lesions import near_lesions
    from asa.longitudinal.shading import even_shading
    from asa.longitudinal.volumes import compare_volumes, expected_volumes, noise_of
    from asa.models import find_model
    from asa.volume import Volume, read_scan, write_volume

    task = TASKS[request.settings.task]
    model = find_model(request.settings.model, task.name)
    used = model.channels(request.first)
    show("reading", 0.0)
    scans = [{key: read_scan(images[key]) for key in used} for images in (request.first, request.second)]
    show("registering", _REGISTERING)
    places = [place_series(visit, align=True) for visit in scans]
    anchors = [place.series[place.anchor] for place in places]
    midway = find_midway(anchors[0].scan, anchors[1].scan, anchors[0].alignment, anchors[1].alignment)
    doubts = [f"Visit {n}: {said}" for n, place in enumerate(places, start=1) for said in place.warnings]
    doubts = [*registration_doubts(midway, request), *doubts]
    if request.settings.strict and doubts:
        raise InputError(f"Refused, because the comparison would be doubtful (--strict): {doubts[0]}")
    seen = seen_by_both(midway, [anchor.scan for anchor in anchors])
    moved = [move_halfway(place, midway, number) for number, place in enumerate(places)]
    inside = seen & brain_region(midway.alignment, midway.grid, 0.0)
    for key in used:
        pair = even_shading(moved[0][key].array, moved[1][key].array, inside)
        moved[0][key], moved[1][key] = (Volume(array.astype(np.float32), midway.grid) for array in pair)
    results = []
    for number, volumes_of_visit in enumerate(moved):
        paths = {key: folder / f"{VISITS[number]}_{key}.nii.gz" for key in used}
        for key, volume in volumes_of_visit.items():
            write_volume(volume, paths[key])
        begin = _SEGMENTING + number * (_COMPARING - _SEGMENTING) / 2

        def part(stage: str, done: float, begin: float = begin, number: int = number) -> None:
            show(f"visit {number + 1}: {stage}", begin + done * (_COMPARING - _SEGMENTING) / 2)

        asked = replace(request.settings, images=paths, posterior=True)
        result = segment(asked, part, alignment=midway.alignment)
        write_volume(result.labels, folder / f"{VISITS[number]}_labels.nii.gz")
        results.append(result)
    for number, result in enumerate(results, start=1):
        doubts += [f"Visit {number}: {said}" for said in result.trust.reasons if said not in model.description.doubts]
    doubts += model.description.doubts
    notes = [said for one in results for said in one.warnings if said not in one.trust.reasons]

    both = (results[0], results[1])
    counted = seen
    if lesions_asked := _has_lesions(task):
        seen = seen & (both[0].brain.array > 0) & (both[1].brain.array > 0)
        counted = near_lesions((both[0].labels.array > 0, both[1].labels.array > 0), seen)
    volumes = []
    for result in results:
        assert result.posterior is not None  # it was asked for
        result.posterior[:, ~counted] = 0  # what only one visit shows is no change
        volumes.append(expected_volumes(result.posterior, task, midway.grid.voxel_volume_ml))
    changes = compare_volumes(volumes[0], volumes[1], task, noise_of(model.name, model.description.version))
    if lesions_asked:
        lesions, parts = _write_lesions(folder, task, both, midway, seen)
    else:
        lesions, parts = [], _write_labels(folder, task, both, midway, changes)
    return _Comparison(midway, changes, lesions, parts), doubts, notes


def registration_doubts(midway: Midway, request: CompareRequest) -> list[str]:
    """Return why the two visits may not be comparable: different people, or a registration that failed."""
    from asa.inference.identity import check_one_patient
    from asa.inference.placement import DOUBTED, HOPELESS

    found = []
    for key in request.first:
        try:
            check_one_patient({"first": request.first[key], "second": request.second[key]})
        except InputError:
            found.append("According to their DICOM tags the two visits are of different patients.")
            break
    if midway.agreement < HOPELESS:
        found.append(
            "The two visits do not seem to show the same head: they cannot be registered with one another (agreement "
            f"{midway.agreement:.2f}, required {HOPELESS}). Do not interpret the changes."
        )
    elif midway.agreement < DOUBTED or midway.inconsistency_mm > INCONSISTENT_MM:
        found.append(
            "The two visits could not be registered well with one another (agreement "
            f"{midway.agreement:.2f}, forwards and backwards {midway.inconsistency_mm:.1f} mm apart); check {PICTURE}."
        )
    return found


def move_halfway(place: Placement, midway: Midway, visit: int) -> dict[str, Volume]:
    """Resample every series of a visit once, onto the grid half-way between the visits.

    Args:
        place: the series, each aligned with the brain frame.
        midway: the space half-way.
        visit: 0 for the first, 1 for the second.

    Returns:
        Modality key -> volume.
    """
    import numpy as np

    from asa.geometry import resample
    from asa.volume import Volume

    anchor = place.series[place.anchor].alignment.matrix
    to_anchor = (midway.to_first, midway.to_second)[visit]
    moved = {}
    for key, series in place.series.items():
        matrix = series.alignment.matrix @ np.linalg.inv(anchor) @ to_anchor
        background = float(series.scan.array.min())
        moved[key] = Volume(resample(series.scan, midway.grid, 1, matrix, background).array, midway.grid)
    return moved


def _has_lesions(task: Task) -> bool:
    """Whether the labels are lesions of which there may be many, and not parts of the brain or of one another."""
    return not task.nested and not any(label.in_brain for label in task.labels)


def _brightness(pair: tuple[SegmentResult, SegmentResult]) -> tuple[Any, Any]:
    from asa.longitudinal.lesions import brightness

    first, second = (brightness(one.image.array, one.brain.array > 0) for one in pair)
    return first, second


def _write_lesions(
    folder: Path,
    task: Task,
    pair: tuple[SegmentResult, SegmentResult],
    midway: Midway,
    seen: npt.NDArray[np.bool_],
) -> tuple[Sequence[LesionChange], list[Part]]:
    """Match the lesions in the brain that both visits show, and write their table, label maps and picture."""
    import numpy as np

    from asa.longitudinal.lesions import STATES, compare_lesions
    from asa.longitudinal.overlay import lesion_overlay
    from asa.longitudinal.picture import lesion_slices, write_picture
    from asa.longitudinal.tables import write_lesions
    from asa.volume import Volume, write_volume

    images = _brightness(pair)
    masks = [one.labels.array > 0 for one in pair]
    chances = [one.posterior[1:].sum(axis=0, dtype=np.float32) for one in pair if one.posterior is not None]
    lesions, numbers = compare_lesions(
        (masks[0], masks[1]), (chances[0], chances[1]), images[1] - images[0], midway.grid, seen
    )
    write_lesions(folder / LESIONS, lesions)
    write_volume(Volume(numbers.astype(np.uint16), midway.grid), folder / LESION_MAP)
    shown, parts = lesion_overlay(lesions, numbers, midway.grid.voxel_volume_ml)
    write_volume(Volume(shown, midway.grid), folder / CHANGE_MAP)
    counts = [sum(one.state == state for one in lesions) for state in STATES]
    write_picture(
        folder / PICTURE,
        images,
        (np.where(masks[0], shown, 0), np.where(masks[1], shown, 0)),
        {part.value: part.colour for part in parts},
        lesion_slices(lesions, numbers) or [midway.grid.shape[0] // 2],
        [(f"{count} {part.name}", part.colour) for part, count in zip(parts, counts, strict=True)],
        f"{task.title}: change between two visits",
        [],
    )
    return lesions, parts


def _write_labels(
    folder: Path,
    task: Task,
    pair: tuple[SegmentResult, SegmentResult],
    midway: Midway,
    changes: Sequence[Change],
) -> list[Part]:
    """Write where tissue was lost and gained, and the picture of the labels."""
    import numpy as np

    from asa.longitudinal.overlay import tissue_overlay
    from asa.longitudinal.picture import write_picture
    from asa.longitudinal.tables import sentence
    from asa.volume import Volume, write_volume

    in_brain = [n for n, label in enumerate(task.labels, start=1) if label.in_brain]
    title = "Brain tissue" if in_brain else task.regions[0].title
    which = in_brain or [n for n, label in enumerate(task.labels, 1) if label.value in task.regions[0].values]
    first, second = (one.posterior[which].sum(axis=0, dtype=np.float32) for one in pair if one.posterior is not None)
    found, parts = tissue_overlay(first, second, title, midway.grid.voxel_volume_ml)
    write_volume(Volume(found, midway.grid), folder / CHANGE_MAP)
    labelled = np.flatnonzero((pair[0].labels.array > 0).any(axis=(1, 2)))
    middle = len(pair[0].labels.array) // 2
    low, high = (int(labelled[0]), int(labelled[-1])) if labelled.size else (middle, middle)
    slices = sorted({low + (high - low) * part // 100 for part in (30, 45, 60, 75)})
    write_picture(
        folder / PICTURE,
        _brightness(pair),
        (pair[0].labels.array, pair[1].labels.array),
        {label.value: label.colour for label in task.labels},
        slices,
        [(label.title, label.colour) for label in task.labels],
        f"{task.title}: change between two visits",
        [sentence(row) for row in changes if row.name in {"brain", *(region.name for region in task.regions)}],
    )
    return parts
